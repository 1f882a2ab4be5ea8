/* cmd_explain.c - `seedfarm explain`: why isn't my job running? */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"

/* "frog/12" is job 12 of frog; a path that is a file is a sweep file. *before is the part that names the sweep; owned. */
static enum err split(char **before, bool *has_index, uint64_t *index, const char *text, struct error *error) {
    const char *slash = strrchr(text, '/');
    *has_index = slash && !file_exists(text);
    if (*has_index) {
        char *end;
        errno = 0;
        *index = strtoull(slash + 1, &end, 10);
        if (errno || end == slash + 1 || *end || slash[1] == '-')
            return error_set(error, ERR_INVALID, "%s: want SWEEP or SWEEP/INDEX, \"%s\" is no index", text, slash + 1);
    }
    *before = text_copy_size(text, *has_index ? (size_t)(slash - text) : strlen(text));
    return ERR_OK;
}

static enum err explain(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct message answer, question = { .type = MESSAGE_EXPLAIN };
    char *before = NULL;
    struct call call;
    enum err err = call_parse(&call, 0, 1, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if (call.count) {
        if ((err = split(&before, &question.explain.has_index, &question.explain.index, call.words[0], error)))
            goto done;
        call.words[0] = before;
    }
    if ((err = call_open(&call, error)))
        goto done;
    question.explain.sweep = call.sweep;
    if ((err = farm_ask(&answer, &call.farm, &question, MESSAGE_EXPLANATION, error)))
        goto done;
    if (call.json) {
        err = output_json(json_pack("{s:s, s:s}", "rule", answer.explanation.rule, "text", answer.explanation.text), error);
    } else {
        printf("%s: %s\n", output_safe(answer.explanation.rule), output_safe(answer.explanation.text));
        err = output_flush(error);
    }
    message_release(&answer);
done:
    call_end(&call);
    free(before);
    return err;
}

const struct command command_explain = {
    "explain", "[SWEEP[/INDEX]|WORKER]",
    "why isn't my job running? The rule that holds a sweep, a job, a worker or the whole farm, and what would change it",
    "  seedfarm explain\n  seedfarm explain frog\n  seedfarm explain frog/12\n  seedfarm explain gpu-box-3\n", explain
};

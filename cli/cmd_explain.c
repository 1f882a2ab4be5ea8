/* cmd_explain.c - `seedfarm explain`: why isn't my job running? */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/farm.h"
#include "cli/output.h"

/* "frog/12" is job 12 of frog; a path that is a file is a sweep file. */
static enum err split(char **sweep, bool *has_index, uint64_t *index, const char *text, struct error *error) {
    const char *slash = strrchr(text, '/');
    *has_index = false;
    if (!slash || file_exists(text))
        return farm_sweep_word(sweep, text, error);
    char *end;
    errno = 0;
    *index = strtoull(slash + 1, &end, 10);
    if (errno || end == slash + 1 || *end || slash[1] == '-')
        return error_set(error, ERR_INVALID, "%s: want SWEEP or SWEEP/INDEX, \"%s\" is no index", text, slash + 1);
    *has_index = true;
    char *before = text_copy_size(text, (size_t)(slash - text));
    enum err err = farm_sweep_word(sweep, before, error);
    free(before);
    return err;
}

static enum err explain(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct farm_flags where = { 0 };
    bool json = false;
    const struct flag table[] = { FARM_FLAGS(where), { "json", 0, NULL, "the answer as JSON", NULL, NULL, &json } };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct farm farm = { 0 };
    struct message answer, question = { .type = MESSAGE_EXPLAIN };
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    (void)status;
    if (err || help)
        return err;
    err = split(&question.explain.sweep, &question.explain.has_index, &question.explain.index, words[0], error);
    if (err)
        return err;
    if ((err = farm_open(&farm, &where, error)))
        goto done;
    if ((err = farm_ask(&answer, &farm, &question, MESSAGE_EXPLANATION, error)))
        goto done;
    if (json)
        err = output_json(json_pack("{s:s, s:s}", "rule", answer.explanation.rule, "text", answer.explanation.text), error);
    else
        printf("%s: %s\n", answer.explanation.rule, output_safe(answer.explanation.text));
    message_release(&answer);
done:
    farm_close(&farm);
    free(question.explain.sweep);
    return err;
}

const struct command command_explain = {
    "explain", "SWEEP[/INDEX]", "why isn't my job running? The rule that holds a sweep or a job, and what would change it",
    "  seedfarm explain frog\n  seedfarm explain frog/12\n", explain
};

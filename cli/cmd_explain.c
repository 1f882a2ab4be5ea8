/* cmd_explain.c - `seedfarm explain`: why isn't my job running? */
#include <stdio.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"

static enum err explain(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct message answer, question = { .type = MESSAGE_EXPLAIN };
    struct call call;
    enum err err = call_parse(&call, 0, 1, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if ((err = call_split_index(&call, &question.explain.has_index, &question.explain.index, error)))
        goto done;
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
    return err;
}

const struct command command_explain = {
    "explain", "[SWEEP[/INDEX]|WORKER]",
    "why isn't my job running? The rule that holds a sweep, a job, a worker or the whole farm, and what would change it",
    "  seedfarm explain\n  seedfarm explain frog\n  seedfarm explain frog/12\n  seedfarm explain gpu-box-3\n", explain
};

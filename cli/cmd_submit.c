/* cmd_submit.c - `seedfarm submit`, `watch` and `cancel`: a sweep on a running farm. */
#include <stdio.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/submission.h"
#include "cli/watching.h"

enum { PATIENCE_MS = 3600000 };

static enum err watch_to_end(struct farm *farm, const char *sweep, bool json, int *status, struct error *error) {
    struct message final = { 0 };
    enum err err = watch_sweep(&final, farm, sweep, NULL, PATIENCE_MS, error);
    if (err)
        return err;
    const struct sweep_status *ended = &final.status_report.sweeps[0];
    *status = ended->failed || ended->state == SWEEP_CANCELLED ? 1 : 0;
    if (json)
        err = output_json(watch_json(ended), error);
    else
        fprintf(stderr, "%s: %s, %llu of %llu done, %llu failed\n", output_safe(ended->name), sweep_state_name(ended->state),
                (unsigned long long)ended->done, (unsigned long long)ended->jobs, (unsigned long long)ended->failed);
    message_release(&final);
    return err;
}

static enum err print_submission(const struct submission *submission, const char *name, bool json, struct error *error) {
    char id[DIGEST_HEX_SIZE], jobs[32];
    digest_hex(&submission->sweep, id);
    bool fixed = submission->automatic != NUMERICS_AUTO;
    const char *numerics = numerics_name(submission->automatic);
    if (json)
        return output_json(json_pack("{s:s, s:s, s:I, s:I, s:b, s:s*}", "sweep", id, "name", name, "jobs",
                                     (json_int_t)submission->jobs, "places", (json_int_t)submission->places, "known",
                                     submission->known, "numerics_auto", fixed ? numerics : NULL),
                           error);
    output_count(jobs, submission->jobs);
    printf("%s %s (%s jobs%s%s%s)\n", id, output_safe(name), jobs, submission->known ? ", known already" : "",
           fixed ? ", numerics auto is " : "", fixed ? numerics : "");
    return output_flush(error);
}

static enum err submit(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    bool wait = false;
    const char *priority_text = "0";
    int32_t priority = 0;
    const struct flag own[] = {
        { "wait", 0, NULL, "stay until the sweep has ended, with a bar", NULL, NULL, &wait },
        { "priority", 0, "N", "-100..100: the highest of a user's sweeps goes first (0)", &priority_text, NULL, NULL },
    };
    char id[DIGEST_HEX_SIZE];
    struct submission submission;
    struct sweep_file file;
    struct call call;
    enum err err = call_parse(&call, 1, 1, own, 2, argc, argv, self, error);
    if (err || call.help || (err = call_priority(&priority, priority_text, error)))
        return err;
    if ((err = submission_read(&file, call.words[0], error)))
        return err;
    if ((err = farm_open(&call.farm, &call.where, error)))
        goto done;
    if ((err = submission_send(&submission, &call.farm, &file, priority, error)))
        goto done;
    if ((err = print_submission(&submission, file.name, call.json, error)))
        goto done;
    digest_hex(&submission.sweep, id);
    if (wait)
        err = watch_to_end(&call.farm, id, false, status, error);
done:
    call_end(&call);
    sweep_file_release(&file);
    return err;
}

static enum err watch(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct call call;
    enum err err = call_parse(&call, 1, 1, NULL, 0, argc, argv, self, error);
    if (err || call.help)
        return err;
    if (!(err = call_open(&call, error)))
        err = watch_to_end(&call.farm, call.sweep, call.json, status, error);
    call_end(&call);
    return err;
}

static enum err cancel(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct call call;
    struct message answer;
    enum err err = call_parse(&call, 1, 1, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if ((err = call_open(&call, error)))
        goto done;
    struct message question = { .type = MESSAGE_CANCEL, .sweep_ref = { .sweep = call.sweep } };
    if ((err = farm_ask(&answer, &call.farm, &question, MESSAGE_DONE, error)))
        goto done;
    message_release(&answer);
    if (call.json) {
        err = output_json(json_pack("{s:s, s:b}", "sweep", call.sweep, "cancelled", 1), error);
    } else {
        printf("%s is cancelled; what was done stays\n", output_safe(call.sweep));
        err = output_flush(error);
    }
done:
    call_end(&call);
    return err;
}

const struct command command_submit = {
    "submit", "SWEEP.yaml", "hand a sweep to a running farm\n\n"
    "Objects that the farm lacks (models, prompt files) go ahead. The same sweep again costs nothing; a grown one\n"
    "renders only what is new. Prints the sweep's id.",
    "  seedfarm submit frog.yaml --coordinator tcp://127.0.0.1:7700\n"
    "  seedfarm submit frog.yaml --wait\n",
    submit
};
const struct command command_watch = {
    "watch", "SWEEP", "follow a sweep until it has ended",
    "  seedfarm watch frog\n", watch
};
const struct command command_cancel = {
    "cancel", "SWEEP", "stop a sweep: nothing more of it starts, running batches end within a step",
    "  seedfarm cancel frog\n", cancel
};

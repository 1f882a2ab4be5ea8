/* cmd_submit.c - `seedfarm submit`, `watch` and `cancel`: a sweep on a running farm. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/farm.h"
#include "cli/output.h"
#include "cli/submission.h"
#include "cli/watching.h"

enum { PATIENCE_MS = 3600000 };

static enum err watch_to_end(struct farm *farm, const char *sweep, int *status, struct error *error) {
    struct message final = { 0 };
    enum err err = watch_sweep(&final, farm, sweep, NULL, PATIENCE_MS, error);
    if (err)
        return err;
    const struct sweep_status *ended = &final.status_report.sweeps[0];
    fprintf(stderr, "%s: %s, %llu of %llu done, %llu failed\n", output_safe(ended->name), sweep_state_name(ended->state),
            (unsigned long long)ended->done, (unsigned long long)ended->jobs, (unsigned long long)ended->failed);
    *status = ended->failed || ended->state == SWEEP_CANCELLED ? 1 : 0;
    message_release(&final);
    return ERR_OK;
}

static enum err print_submission(const struct submission *submission, const char *name, bool json, struct error *error) {
    char id[DIGEST_HEX_SIZE], jobs[32];
    digest_hex(&submission->sweep, id);
    if (json)
        return output_json(json_pack("{s:s, s:s, s:I, s:I, s:b}", "sweep", id, "name", name, "jobs",
                                     (json_int_t)submission->jobs, "places", (json_int_t)submission->places, "known",
                                     submission->known),
                           error);
    output_count(jobs, submission->jobs);
    printf("%s %s (%s jobs%s)\n", id, output_safe(name), jobs, submission->known ? ", known already" : "");
    return output_flush(error);
}

static enum err submit(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct farm_flags where = { 0 };
    bool wait = false, json = false;
    const struct flag table[] = {
        FARM_FLAGS(where),
        { "wait", 0, NULL, "stay until the sweep has ended, with a bar", NULL, NULL, &wait },
        { "json", 0, NULL, "the answer as JSON", NULL, NULL, &json },
    };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct sweep_file file;
    struct farm farm = { 0 };
    struct submission submission;
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    if (err || help)
        return err;
    if ((err = submission_read(&file, words[0], error)))
        return err;
    if ((err = farm_open(&farm, &where, error)))
        goto done;
    if ((err = submission_send(&submission, &farm, &file, error)))
        goto done;
    if ((err = print_submission(&submission, file.name, json, error)))
        goto done;
    if (wait) {
        char id[DIGEST_HEX_SIZE];
        digest_hex(&submission.sweep, id);
        err = watch_to_end(&farm, id, status, error);
    }
done:
    farm_close(&farm);
    sweep_file_release(&file);
    return err;
}

static enum err watch(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct farm_flags where = { 0 };
    const struct flag table[] = { FARM_FLAGS(where) };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct farm farm = { 0 };
    char *sweep = NULL;
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    if (err || help)
        return err;
    if ((err = farm_sweep_word(&sweep, words[0], error)))
        return err;
    if (!(err = farm_open(&farm, &where, error)))
        err = watch_to_end(&farm, sweep, status, error);
    farm_close(&farm);
    free(sweep);
    return err;
}

static enum err cancel(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct farm_flags where = { 0 };
    bool json = false;
    const struct flag table[] = { FARM_FLAGS(where), { "json", 0, NULL, "the answer as JSON", NULL, NULL, &json } };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct farm farm = { 0 };
    char *sweep = NULL;
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    (void)status;
    if (err || help)
        return err;
    if ((err = farm_sweep_word(&sweep, words[0], error)))
        return err;
    if ((err = farm_open(&farm, &where, error)))
        goto done;
    struct message answer;
    struct message question = { .type = MESSAGE_CANCEL, .sweep_ref = { .sweep = sweep } };
    if ((err = farm_ask(&answer, &farm, &question, MESSAGE_DONE, error)))
        goto done;
    message_release(&answer);
    if (json)
        err = output_json(json_pack("{s:s, s:b}", "sweep", sweep, "cancelled", 1), error);
    else
        printf("%s is cancelled; what was done stays\n", output_safe(sweep));
done:
    farm_close(&farm);
    free(sweep);
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

/* cmd_status.c - `seedfarm status`. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/watching.h"

static enum err print_sweeps(const struct message_status_report *report, bool json, struct error *error) {
    if (json) {
        json_t *list = json_array();
        for (size_t i = 0; i < report->count; i++)
            json_array_append_new(list, watch_json(&report->sweeps[i]));
        return output_json(json_pack("{s:o, s:I, s:I}", "sweeps", list, "store_free_bytes",
                                     (json_int_t)(report->store_free_bytes > INT64_MAX ? INT64_MAX : report->store_free_bytes),
                                     "workers", (json_int_t)report->workers),
                           error);
    }
    printf("%-12s %-20s %-9s %12s %8s %8s %12s  %s\n", "SWEEP", "NAME", "STATE", "DONE", "FAILED", "RUNNING", "JOBS", "RATE");
    for (size_t i = 0; i < report->count; i++) {
        const struct sweep_status *s = &report->sweeps[i];
        char id[DIGEST_HEX_SIZE], rate[96];
        digest_hex(&s->id, id);
        watch_rate(rate, s);
        printf("%-12.12s %-20.40s %-9s %12" PRIu64 " %8" PRIu64 " %8" PRIu64 " %12" PRIu64 "  %s\n", id, output_safe(s->name),
               sweep_state_name(s->state), s->done, s->failed, s->running, s->jobs, rate);
        if (*s->last_error)
            printf("%-12s last error: %s\n", "", output_safe(s->last_error));
    }
    printf("%u worker%s connected\n", report->workers, report->workers == 1 ? "" : "s");
    return output_flush(error);
}

static enum err status_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct call call;
    struct message answer;
    enum err err = call_parse(&call, 0, 1, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if ((err = call_open(&call, error)))
        goto done;
    struct message question = { .type = MESSAGE_STATUS, .sweep_ref = { .sweep = call.sweep } };
    if ((err = farm_ask(&answer, &call.farm, &question, MESSAGE_STATUS_REPORT, error)))
        goto done;
    err = print_sweeps(&answer.status_report, call.json, error);
    message_release(&answer);
done:
    call_end(&call);
    return err;
}

const struct command command_status = {
    "status", "[SWEEP]", "how far a sweep is, or all of them",
    "  seedfarm status\n  seedfarm status frog --json\n", status_run
};

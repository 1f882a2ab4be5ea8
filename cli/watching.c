/* watching.c - polling a sweep's status. */
#include "cli/watching.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/local_farm.h"
#include "cli/output.h"

enum { POLL_MIN_MS = 10, POLL_MAX_MS = 250 };

static volatile sig_atomic_t stop_asked;

static void ask_stop(int signal_number) {
    (void)signal_number;
    stop_asked = 1;
}

void watch_rate(char out[96], const struct sweep_status *status) {
    char left[32] = "";
    out[0] = '\0';
    int size = 0;
    if (status->eta_ms)
        output_duration(left, status->eta_ms);
    if (status->jobs_per_second > 0)
        size = snprintf(out, 96, "%.3g/s%s", status->jobs_per_second, *left ? ", " : "");
    if (*left)
        size += snprintf(out + size, 96 - (size_t)size, "%s left", left);
    if (status->running_done > 0)
        snprintf(out + size, 96 - (size_t)size, "%s%" PRIu64 " running, %.0f %% of their steps done", size ? ", " : "",
                 status->running, 100 * status->running_done / (double)status->running);
}

json_t *watch_json(const struct sweep_status *s) {
    char id[DIGEST_HEX_SIZE];
    digest_hex(&s->id, id);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:s, s:I, s:f,"
                     " s:I}", "sweep", id, "name",
                     s->name, "user", s->user, "state", sweep_state_name(s->state), "places", (json_int_t)s->places, "jobs",
                     (json_int_t)s->jobs, "done", (json_int_t)s->done, "failed", (json_int_t)s->failed, "running",
                     (json_int_t)s->running, "waiting", (json_int_t)s->waiting, "rendered", (json_int_t)s->rendered,
                     "jobs_per_second", s->jobs_per_second, "eta_ms", (json_int_t)s->eta_ms, "submitted_unix_ms",
                     (json_int_t)s->submitted_unix_ms, "finished_unix_ms", (json_int_t)s->finished_unix_ms, "last_error",
                     s->last_error, "priority", (json_int_t)s->priority, "running_done", s->running_done, "device_ms",
                     (json_int_t)s->device_ms);
}

/* A sweep that does not move says why, once a reason. */
static void tell_trouble(char **told, struct bar *bar, const struct sweep_status *status) {
    if (!*status->last_error || !strcmp(*told, status->last_error))
        return;
    bar_finish(bar);
    output_warn("%s: %s", status->name, status->last_error);
    free(*told);
    *told = text_copy(status->last_error);
}

enum err watch_sweep(struct message *final, struct farm *farm, const char *sweep, struct local_farm *local,
                     uint64_t patience_ms, struct error *error) {
    struct sigaction action = { .sa_handler = ask_stop }, old_int, old_term;
    struct bar bar;
    char *told = text_copy(""); /* the last trouble that was said */
    enum err err = ERR_OK;
    uint64_t last_answer_ms = clock_monotonic_ms(), pause_ms = POLL_MIN_MS;

    bar_init(&bar);
    stop_asked = 0;
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    for (bool ended = false; !ended && !err;) {
        if (stop_asked) {
            err = error_set(error, ERR_CANCELLED, "stopped; what is done is kept, run it again to go on");
            break;
        }
        if (local && (err = local_farm_check(local, error)))
            break;
        err = farm_status(final, farm, sweep, error);
        if (err == ERR_UNREACHABLE && clock_monotonic_ms() - last_answer_ms < patience_ms) {
            err = ERR_OK;
            clock_sleep_ms(POLL_MAX_MS);
            continue;
        }
        if (err)
            break;
        last_answer_ms = clock_monotonic_ms();
        const struct sweep_status *status = &final->status_report.sweeps[0];
        char right[96];
        watch_rate(right, status);
        tell_trouble(&told, &bar, status);
        ended = status->state != SWEEP_ACTIVE && status->state != SWEEP_PAUSED;
        bar_draw(&bar, status->name, status->done + status->failed, status->jobs, right, ended);
        if (!ended) {
            message_release(final);
            clock_sleep_ms(pause_ms);
            pause_ms = pause_ms * 2 < POLL_MAX_MS ? pause_ms * 2 : POLL_MAX_MS;
        }
    }
    bar_finish(&bar);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    free(told);
    return err;
}

/* cmd_workers.c - `seedfarm workers` and `usage`. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"

static json_t *worker_json(const struct worker_status *w) {
    char model[DIGEST_HEX_SIZE];
    digest_hex(&w->model, model);
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:I, s:f,"
                     " s:I, s:b, s:I, s:s, s:f, s:s, s:I}", "worker",
                     (json_int_t)w->worker, "name", w->name, "host", w->host, "device", w->device, "device_class",
                     w->device_class, "version", w->version, "pid", (json_int_t)w->pid, "threads", (json_int_t)w->threads,
                     "batch", (json_int_t)w->batch, "connected_unix_ms", (json_int_t)w->connected_unix_ms, "silent_ms",
                     (json_int_t)w->silent_ms, "jobs_done", (json_int_t)w->jobs_done, "jobs_failed",
                     (json_int_t)w->jobs_failed, "leased", (json_int_t)w->leased, "phase",
                     w->phase ? work_phase_name(w->phase) : "idle", "step", (json_int_t)w->step, "steps",
                     (json_int_t)w->steps, "jobs_per_second", w->jobs_per_second, "protocol", (json_int_t)w->protocol,
                     "draining", w->draining, "benched_ms", (json_int_t)w->benched_ms, "bench_reason", w->bench_reason,
                     "job_ms", w->job_ms, "model", model, "memory_bytes", (json_int_t)w->memory_bytes);
}

static enum err print_workers(const struct message_workers_report *report, bool json, struct error *error) {
    if (json) {
        json_t *list = json_array();
        for (size_t i = 0; i < report->count; i++)
            json_array_append_new(list, worker_json(&report->workers[i]));
        return output_json(json_pack("{s:o}", "workers", list), error);
    }
    printf("%-24s %-20s %8s %8s %8s %6s  %s\n", "WORKER", "DEVICE", "DONE", "FAILED", "LEASED", "BATCH", "DOING");
    for (size_t i = 0; i < report->count; i++) {
        const struct worker_status *w = &report->workers[i];
        char doing[96] = "idle";
        if (w->benched_ms)
            snprintf(doing, sizeof doing, "benched for %" PRIu64 " s", (w->benched_ms + 999) / 1000);
        else if (w->phase)
            snprintf(doing, sizeof doing, "%s %u/%u", work_phase_name(w->phase), w->step, w->steps);
        printf("%-24.24s %-20.20s %8" PRIu64 " %8" PRIu64 " %8u %6u  %s\n", output_safe(w->name), output_safe(w->device_class),
               w->jobs_done, w->jobs_failed, w->leased, w->batch, doing);
        if (w->draining)
            printf("%-24s draining: it ends what it has, and leaves\n", "");
        if (*w->bench_reason)
            printf("%-24s its failures: %s\n", "", output_safe(w->bench_reason));
    }
    return output_flush(error);
}

static enum err workers_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct message answer, question = { .type = MESSAGE_WORKERS };
    struct call call;
    enum err err = call_parse(&call, 0, 0, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if ((err = call_open(&call, error)))
        goto done;
    if ((err = farm_ask(&answer, &call.farm, &question, MESSAGE_WORKERS_REPORT, error)))
        goto done;
    err = print_workers(&answer.workers_report, call.json, error);
    message_release(&answer);
done:
    call_end(&call);
    return err;
}

static enum err print_usage(const struct message_usage_report *report, bool json, struct error *error) {
    json_t *list = json ? json_array() : NULL;
    if (!json)
        printf("%-24s %8s %12s %14s %12s %8s\n", "USER", "WEIGHT", "JOBS", "DEVICE-S", "WAITING", "RUNNING");
    for (size_t i = 0; i < report->count; i++) {
        const struct user_usage *u = &report->users[i];
        if (json)
            json_array_append_new(list, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "user", u->user, "weight",
                                                  (json_int_t)u->weight, "jobs", (json_int_t)u->jobs, "device_ms",
                                                  (json_int_t)u->device_ms, "waiting", (json_int_t)u->waiting, "running",
                                                  (json_int_t)u->running));
        else
            printf("%-24.24s %8" PRIu32 " %12" PRIu64 " %14.1f %12" PRIu64 " %8" PRIu64 "\n", output_safe(u->user), u->weight,
                   u->jobs, (double)u->device_ms / 1000, u->waiting, u->running);
    }
    return json ? output_json(json_pack("{s:o}", "users", list), error) : output_flush(error);
}

static enum err usage_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct message answer, question = { .type = MESSAGE_USAGE };
    struct call call;
    enum err err = call_parse(&call, 0, 0, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if ((err = call_open(&call, error)))
        goto done;
    if ((err = farm_ask(&answer, &call.farm, &question, MESSAGE_USAGE_REPORT, error)))
        goto done;
    err = print_usage(&answer.usage_report, call.json, error);
    message_release(&answer);
done:
    call_end(&call);
    return err;
}

const struct command command_workers = {
    "workers", "", "who is connected, and what each is doing",
    "  seedfarm workers\n", workers_run
};
const struct command command_usage = {
    "usage", "", "what each user has had of the farm: jobs and device-seconds", "  seedfarm usage --json\n", usage_run
};

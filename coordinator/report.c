/* report.c - STATUS, WORKERS and USAGE: the state as it is, in numbers. */
#include <stdlib.h>
#include <string.h>

#include "coordinator/control.h"
#include "coordinator/farm.h"

/* ---- sweeps --------------------------------------------------------------------------------------------------------- */

/* Of the running jobs how many are drawn, counted in steps; a lease in several sweeps counts in each by its jobs there. */
static double running_done(const struct coordinator *farm, const struct order *order) {
    double done = 0;
    if (!order->running)
        return 0;
    for (size_t l = 0; l < farm->scheduler.leases.count; l++) {
        const struct lease *lease = farm->scheduler.leases.leases[l];
        double part = lease->phase > PHASE_STEP ? 1 : lease->steps ? (double)lease->step / lease->steps : 0;
        for (uint32_t i = 0; i < lease->count && part > 0 && !lease->copy; i++)
            if (lease->flights[i]->place_count && lease->flights[i]->places[0].order == order)
                done += part;
    }
    return done;
}

static void fill_status(struct sweep_status *status, const struct coordinator *farm, const struct order *order, bool closely) {
    double rate = order->state == SWEEP_ACTIVE ? rate_per_second(&order->rate, farm->now_ms) : 0;
    uint64_t waiting = order_waiting(order);
    *status = (struct sweep_status){
        .id = order->id, .name = order->name, .user = order->user, .state = order->state, .places = order->places,
        .jobs = order->jobs, .done = order->done, .failed = order->failed, .running = order->running, .waiting = waiting,
        .rendered = order->rendered, .submitted_unix_ms = order->submitted_unix_ms,
        .finished_unix_ms = order->finished_unix_ms, .jobs_per_second = rate, .last_error = order->last_error,
        .priority = order->priority, .device_ms = order->device_ms,
        .running_done = closely ? running_done(farm, order) : 0,
    };
    double left = (double)(waiting + order->running) - status->running_done, left_ms = 0;
    if (rate > 0)
        left_ms = left / rate * 1000;
    else if (order->state == SWEEP_ACTIVE && farm->scheduler.pace > 0) /* none of it is drawn yet: by what the workers drew before */
        left_ms = left * order->job_cost / farm->scheduler.pace;
    status->eta_ms = left_ms > 0 && left_ms < 1e15 ? (uint64_t)left_ms : 0;
}

void status_take(struct coordinator *farm, const struct route *route, const struct message *message) {
    struct message answer = { .type = MESSAGE_STATUS_REPORT, .request = message->request };
    struct message_status_report *report = &answer.status_report;
    struct order *one = NULL;
    struct error error;
    if (*message->sweep_ref.sweep && queue_find_word(&one, &farm->queue, message->sweep_ref.sweep, &error) != ERR_OK) {
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    size_t count = one ? 1 : farm->queue.count;
    size_t first = count > LIMIT_SWEEPS ? count - LIMIT_SWEEPS : 0; /* the newest, where there are too many */
    report->sweeps = memory_get_array(count + 1, sizeof *report->sweeps);
    for (size_t i = first; i < count; i++)
        fill_status(&report->sweeps[report->count++], farm, one ? one : farm->queue.orders[i], one != NULL);
    report->store_free_bytes = farm->free_bytes;
    report->workers = (uint32_t)farm->sessions.count;
    farm_send(farm, route, &answer);
    free(report->sweeps);
}

/* ---- workers -------------------------------------------------------------------------------------------------------- */

static void fill_worker(struct worker_status *status, const struct coordinator *farm, const struct session *session) {
    const struct message_worker_hello *hello = &session->hello;
    struct worker *worker = session->worker;
    bool benched = worker_is_benched(worker, farm->now_ms);
    *status = (struct worker_status){
        .worker = worker->number, .name = worker->name, .host = hello->host, .device = hello->device,
        .device_class = hello->device_class, .version = hello->version, .pid = hello->pid, .threads = hello->threads,
        .batch = worker->batch, .connected_unix_ms = session->connected_unix_ms,
        .silent_ms = farm->now_ms - session->heard_ms, .jobs_done = session->jobs_done, .jobs_failed = session->jobs_failed,
        .leased = worker->leased, .jobs_per_second = rate_per_second(&session->rate, farm->now_ms),
        .protocol = session->protocol, .draining = worker->draining,
        .benched_ms = benched ? worker->benched_until_ms - farm->now_ms : 0,
        .bench_reason = worker->bench_reason, .model = worker->loaded_model, .memory_bytes = hello->memory_bytes,
        .job_ms = worker->jobs_done ? (double)worker->device_ms / (double)worker->jobs_done : 0,
    };
    const struct lease *shown = worker->leases;
    for (const struct lease *lease = worker->leases; lease; lease = lease->next)
        if (shown->phase >= PHASE_DELIVER && lease->phase < PHASE_DELIVER) /* of several, the one it works on */
            shown = lease;
    if (shown) {
        status->phase = shown->phase;
        status->step = shown->step;
        status->steps = shown->steps;
    }
}

void workers_take(struct coordinator *farm, const struct route *route, uint64_t request) {
    struct message answer = { .type = MESSAGE_WORKERS_REPORT, .request = request };
    struct worker_status *list = memory_get_array(farm->sessions.count + 1, sizeof *list);
    answer.workers_report.workers = list;
    for (size_t i = 0; i < farm->sessions.count; i++)
        fill_worker(&list[answer.workers_report.count++], farm, farm->sessions.list[i]);
    farm_send(farm, route, &answer);
    free(list);
}

/* ---- usage ---------------------------------------------------------------------------------------------------------- */

static int by_user(const void *a, const void *b) {
    const struct order *left = *(struct order *const *)a, *right = *(struct order *const *)b;
    return strcmp(left->user, right->user);
}

/* What was drawn for each user, over all sweeps the ledger has. */
void usage_take(struct coordinator *farm, const struct route *route, uint64_t request) {
    struct message answer = { .type = MESSAGE_USAGE_REPORT, .request = request };
    struct message_usage_report *report = &answer.usage_report;
    size_t count = farm->queue.count;
    struct order **orders = memory_get_array(count + 1, sizeof(struct order *));
    report->users = memory_get_array(count + 1, sizeof *report->users);
    if (count)
        memcpy(orders, farm->queue.orders, count * sizeof(struct order *));
    qsort(orders, count, sizeof(struct order *), by_user);
    for (size_t i = 0; i < count && report->count <= LIMIT_USERS; i++) {
        if (i == 0 || strcmp(orders[i]->user, orders[i - 1]->user) != 0) {
            if (report->count == LIMIT_USERS)
                break;
            const struct user *known = share_find(&farm->scheduler.share, orders[i]->user);
            report->users[report->count++] = (struct user_usage){ .user = orders[i]->user,
                                                                  .weight = known ? known->weight : WEIGHT_DEFAULT };
        }
        struct user_usage *user = &report->users[report->count - 1];
        bool open = orders[i]->state == SWEEP_ACTIVE || orders[i]->state == SWEEP_PAUSED;
        user->device_ms += orders[i]->device_ms;
        user->jobs += orders[i]->rendered;
        user->waiting += open ? order_waiting(orders[i]) : 0;
        user->running += orders[i]->running;
    }
    farm_send(farm, route, &answer);
    free(report->users);
    free(orders);
}

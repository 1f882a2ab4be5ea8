/*
 * operate.c - what clients change: cancel, pause, resume, retry, priority of a sweep; draining of a worker.
 *
 * In memory at once, so that nothing more is leased the old way; the ledger follows, then the answer. What the ledger could not
 * take is refused: after a restart it would be as it was.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/control.h"
#include "coordinator/farm.h"

struct operation {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request;
    enum message_type type;
    /* As they stand when the loop has changed them. */
    uint64_t number, touched, finished_unix_ms;
    enum sweep_state state;
    int32_t priority;
    char *name;
    enum err err;
    struct error error;
};

static void operation_work(struct task *task) {
    struct operation *operation = (struct operation *)task;
    struct ledger *ledger = operation->farm->ledger;
    struct error *error = &operation->error;
    if (operation->type == MESSAGE_PRIORITY)
        operation->err = ledger_set_priority(ledger, operation->number, operation->priority, error);
    else if (operation->type == MESSAGE_RETRY)
        operation->err = ledger_reopen_sweep(ledger, operation->number, operation->name, operation->touched, operation->state,
                                             operation->priority, error);
    else
        operation->err = ledger_set_state(ledger, operation->number, operation->state, operation->finished_unix_ms, error);
}

static void operation_finish(struct task *task) {
    struct operation *operation = (struct operation *)task;
    if (operation->err)
        farm_refuse(operation->farm, &operation->route, operation->request, &operation->error);
    else
        farm_done(operation->farm, &operation->route, operation->request);
    free(operation->name);
    free(operation);
}

static void write_down(struct coordinator *farm, const struct route *route, const struct message *message,
                       const struct order *order) {
    char hex[DIGEST_HEX_SIZE], priority[16];
    struct operation *operation = memory_get(sizeof *operation);
    *operation = (struct operation){
        .task = { .work = operation_work, .finish = operation_finish }, .farm = farm, .route = *route,
        .request = message->request, .type = message->type, .number = order->number, .touched = order->touched,
        .finished_unix_ms = order->finished_unix_ms, .state = order->state, .priority = order->priority,
        .name = text_copy(order->name),
    };
    digest_hex(&order->id, hex);
    snprintf(priority, sizeof priority, "%" PRId32, order->priority);
    log_event(LOG_INFO, "operation", "what", message_type_name(message->type), "sweep", hex, "name", order->name, "state",
              sweep_state_name(order->state), "priority", priority, NULL);
    desk_post(farm->ledger_desk, &operation->task);
}

/* Idempotent, all of them: what is so already is written once more. *error: why not. */
static enum err cancel(struct coordinator *farm, struct order *order, struct error *error) {
    if (order->state == SWEEP_DONE)
        return error_set(error, ERR_INVALID, "sweep \"%s\": it is done, there is nothing to cancel", order->name);
    if (order->state == SWEEP_CANCELLED)
        return ERR_OK;
    order->state = SWEEP_CANCELLED;
    order->finished_unix_ms = clock_unix_ms();
    schedule_drop_order(&farm->scheduler, order);
    return ERR_OK;
}

static enum err set_paused(struct coordinator *farm, struct order *order, bool pause, struct error *error) {
    if (order->state != SWEEP_ACTIVE && order->state != SWEEP_PAUSED)
        return error_set(error, ERR_INVALID, "sweep \"%s\": it is %s, there is nothing to %s", order->name,
                         sweep_state_name(order->state), pause ? "pause" : "resume");
    order->state = pause ? SWEEP_PAUSED : SWEEP_ACTIVE;
    schedule_order_changed(&farm->scheduler, order);
    return ERR_OK;
}

static enum err retry(struct coordinator *farm, struct order *order, struct error *error) {
    if (!order->failed)
        return error_set(error, ERR_INVALID, "sweep \"%s\": none of its %" PRIu64 " jobs has failed, there is nothing to retry",
                         order->name, order->jobs);
    order->touched = ++farm->queue.touches;
    order_ask_again(order);
    schedule_order_changed(&farm->scheduler, order);
    return ERR_OK;
}

static enum err set_priority(struct coordinator *farm, struct order *order, int32_t priority) {
    order->priority = priority;
    schedule_order_changed(&farm->scheduler, order);
    return ERR_OK;
}

void operate_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct order *order;
    struct error error;
    const char *word = message->type == MESSAGE_PRIORITY ? message->priority.sweep : message->sweep_ref.sweep;
    enum err err = queue_find_word(&order, &farm->queue, word, &error);
    if (!err && message->type == MESSAGE_RETRY && !control_sweep_is_open(farm, order, route, message))
        return; /* comes again when it is open */
    if (!err)
        err = message->type == MESSAGE_CANCEL   ? cancel(farm, order, &error)
              : message->type == MESSAGE_PAUSE  ? set_paused(farm, order, true, &error)
              : message->type == MESSAGE_RESUME ? set_paused(farm, order, false, &error)
              : message->type == MESSAGE_RETRY  ? retry(farm, order, &error)
                                                : set_priority(farm, order, message->priority.priority);
    if (err)
        farm_refuse(farm, route, message->request, &error);
    else
        write_down(farm, route, message, order);
}

/* Not in the ledger: a worker that connects anew, as a new process, is served. */
void drain_take(struct coordinator *farm, const struct route *route, const struct message *message) {
    const struct message_drain_worker *drain = &message->drain_worker;
    struct worker *worker = schedule_find_worker(&farm->scheduler, drain->worker);
    struct session *session = worker ? session_find_worker(&farm->sessions, worker->number) : NULL;
    struct error error;
    if (!session) {
        error_set(&error, ERR_NOT_FOUND, "worker \"%.120s\": %s (%zu workers are connected)", drain->worker,
                  worker ? "it is not connected" : "the farm knows none of that name", farm->sessions.count);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    schedule_drain(&farm->scheduler, worker, !drain->stop);
    log_event(LOG_INFO, "operation", "what", drain->stop ? "drain-stop" : "drain", "worker", worker->name, NULL);
    session->told_drain = false;
    session_tell_drain(farm, session);
    farm_done(farm, route, message->request);
}

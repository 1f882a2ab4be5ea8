/* control.c - status, cancel, fetch, missing; and opening finished sweeps that somebody asks about. */
#include "coordinator/control.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/farm.h"

/* ---- status --------------------------------------------------------------------------------------------------------- */

static void fill_status(struct sweep_status *status, const struct order *order, uint64_t now_ms) {
    double rate = order->state == SWEEP_ACTIVE ? rate_per_second(&order->rate, now_ms) : 0;
    uint64_t waiting = order_waiting(order);
    *status = (struct sweep_status){
        .id = order->id, .name = order->name, .user = order->user, .state = order->state, .places = order->places,
        .jobs = order->jobs, .done = order->done, .failed = order->failed, .running = order->running, .waiting = waiting,
        .rendered = order->rendered, .submitted_unix_ms = order->submitted_unix_ms,
        .finished_unix_ms = order->finished_unix_ms, .jobs_per_second = rate, .last_error = order->last_error,
    };
    double left_ms = rate > 0 ? (double)(waiting + order->running) / rate * 1000 : 0;
    status->eta_ms = left_ms < 1e15 ? (uint64_t)left_ms : 0;
}

static void take_status(struct coordinator *farm, const struct route *route, const struct message *message) {
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
        fill_status(&report->sweeps[report->count++], one ? one : farm->queue.orders[i], farm->now_ms);
    report->store_free_bytes = farm->free_bytes;
    report->workers = (uint32_t)farm->sessions.count;
    farm_send(farm, route, &answer);
    free(report->sweeps);
}

/* ---- cancel --------------------------------------------------------------------------------------------------------- */

struct cancelling {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request, number, unix_ms;
    enum err err;
    struct error error;
};

static void cancel_work(struct task *task) {
    struct cancelling *cancelling = (struct cancelling *)task;
    cancelling->err = ledger_cancel_sweep(cancelling->farm->ledger, cancelling->number, cancelling->unix_ms, &cancelling->error);
}

static void cancel_finish(struct task *task) {
    struct cancelling *cancelling = (struct cancelling *)task;
    if (cancelling->err)
        farm_refuse(cancelling->farm, &cancelling->route, cancelling->request, &cancelling->error);
    else
        farm_done(cancelling->farm, &cancelling->route, cancelling->request);
    free(cancelling);
}

static void revoke_lease(void *context, const struct lease *lease) {
    struct coordinator *farm = context;
    const struct session *session = session_find_number(&farm->sessions, lease->worker);
    struct message message = { .type = MESSAGE_REVOKE, .revoke = { lease->id, lease->epoch } };
    if (session)
        farm_send(farm, &session->route, &message);
}

/* In memory at once, so that nothing more is leased; the ledger follows, then the answer. A cancel that the ledger could not
 * take is refused: after a restart the sweep would go on. */
static void take_cancel(struct coordinator *farm, const struct route *route, const struct message *message) {
    struct order *order;
    struct error error;
    if (queue_find_word(&order, &farm->queue, message->sweep_ref.sweep, &error) != ERR_OK) {
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (order->state == SWEEP_DONE) {
        error_set(&error, ERR_INVALID, "sweep \"%s\": it is done, there is nothing to cancel", order->name);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    struct cancelling *cancelling = memory_get(sizeof *cancelling);
    *cancelling = (struct cancelling){ .task = { .work = cancel_work, .finish = cancel_finish }, .farm = farm, .route = *route,
                                       .request = message->request, .number = order->number, .unix_ms = clock_unix_ms() };
    if (order->state == SWEEP_ACTIVE) {
        order->state = SWEEP_CANCELLED;
        order->finished_unix_ms = cancelling->unix_ms;
        schedule_drop_order(&farm->scheduler, order, revoke_lease, farm);
        log_event(LOG_INFO, "sweep-cancelled", "name", order->name, NULL);
    }
    desk_post(farm->ledger_desk, &cancelling->task);
}

/* ---- objects -------------------------------------------------------------------------------------------------------- */

struct fetching {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request, total;
    struct message_fetch fetch;
    struct bytes data;
    enum err err;
    struct error error;
};

static void fetch_work(struct task *task) {
    struct fetching *fetching = (struct fetching *)task;
    const struct message_fetch *fetch = &fetching->fetch;
    struct coordinator *farm = fetching->farm;
    if (library_has(farm->library, &fetch->digest)) {
        fetching->err = library_read(&fetching->data, &fetching->total, farm->library, &fetch->digest, fetch->offset,
                                     fetch->size, &fetching->error);
        return;
    }
    fetching->err = store_size(&fetching->total, farm->store, &fetch->digest, &fetching->error);
    if (!fetching->err)
        fetching->err = store_read(&fetching->data, farm->store, &fetch->digest, fetch->offset, fetch->size,
                                   &fetching->error);
}

static void fetch_finish(struct task *task) {
    struct fetching *fetching = (struct fetching *)task;
    struct message answer = {
        .type = MESSAGE_CHUNK,
        .request = fetching->request,
        .chunk = { .digest = fetching->fetch.digest, .offset = fetching->fetch.offset, .total = fetching->total,
                   .data = fetching->data.data, .size = fetching->data.size },
    };
    if (fetching->err)
        farm_refuse(fetching->farm, &fetching->route, fetching->request, &fetching->error);
    else
        farm_send(fetching->farm, &fetching->route, &answer);
    bytes_release(&fetching->data);
    free(fetching);
}

void fetch_take(struct coordinator *farm, const struct route *route, const struct message *message) {
    struct fetching *fetching = memory_get(sizeof *fetching);
    *fetching = (struct fetching){ .task = { .work = fetch_work, .finish = fetch_finish }, .farm = farm, .route = *route,
                                   .request = message->request, .fetch = message->fetch, .data = BYTES_INIT };
    desk_post(farm->file_desk, &fetching->task);
}

struct comparing {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request;
    struct message_keys keys;
};

static void missing_work(struct task *task) {
    struct comparing *comparing = (struct comparing *)task;
    size_t kept = 0;
    for (size_t i = 0; i < comparing->keys.count; i++) {
        const struct digest *digest = &comparing->keys.keys[i];
        if (!library_has(comparing->farm->library, digest) && !store_has(comparing->farm->store, digest))
            comparing->keys.keys[kept++] = *digest;
    }
    comparing->keys.count = kept;
}

static void missing_finish(struct task *task) {
    struct comparing *comparing = (struct comparing *)task;
    struct message answer = { .type = MESSAGE_MISSING, .request = comparing->request, .keys = comparing->keys };
    farm_send(comparing->farm, &comparing->route, &answer);
    free(comparing->keys.keys);
    free(comparing);
}

void missing_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct comparing *comparing = memory_get(sizeof *comparing);
    *comparing = (struct comparing){ .task = { .work = missing_work, .finish = missing_finish }, .farm = farm,
                                     .route = *route, .request = message->request, .keys = message->keys };
    message->keys = (struct message_keys){ 0 };
    desk_post(farm->file_desk, &comparing->task);
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

struct opening {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    struct message message; /* taken */
    struct order *order;
    struct digest id;
    struct sweep *sweep;
    enum err err;
    struct error error;
};

static void open_work(struct task *task) {
    struct opening *opening = (struct opening *)task;
    opening->err = farm_open_sweep(&opening->sweep, opening->farm, &opening->id, &opening->error);
}

static void open_finish(struct task *task) {
    struct opening *opening = (struct opening *)task;
    struct coordinator *farm = opening->farm;
    if (opening->err) {
        farm_refuse(farm, &opening->route, opening->message.request, &opening->error);
    } else {
        if (!opening->order->sweep) {
            opening->order->sweep = opening->sweep;
        } else { /* two asked at the same time */
            sweep_release(opening->sweep);
            free(opening->sweep);
        }
        control_take(farm, &opening->route, &opening->message);
    }
    message_release(&opening->message);
    free(opening);
}

bool control_sweep_is_open(struct coordinator *farm, struct order *order, const struct route *route,
                           struct message *message) {
    if (order->sweep)
        return true;
    struct opening *opening = memory_get(sizeof *opening);
    *opening = (struct opening){ .task = { .work = open_work, .finish = open_finish }, .farm = farm, .route = *route,
                                 .message = *message, .order = order, .id = order->id };
    *message = (struct message){ .type = MESSAGE_DONE };
    desk_post(farm->file_desk, &opening->task);
    return false;
}

/* ---- everything ----------------------------------------------------------------------------------------------------- */

void control_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct error error;
    switch (message->type) {
    case MESSAGE_SUBMIT: submit_take(farm, route, message); return;
    case MESSAGE_MISSING: missing_take(farm, route, message); return;
    case MESSAGE_PUT: upload_take(farm, route, message); return;
    case MESSAGE_FETCH: fetch_take(farm, route, message); return;
    case MESSAGE_STATUS: take_status(farm, route, message); return;
    case MESSAGE_LIST: list_take(farm, route, message); return;
    case MESSAGE_CANCEL: take_cancel(farm, route, message); return;
    case MESSAGE_EXPLAIN: explain_take(farm, route, message); return;
    case MESSAGE_WORKERS: session_report(farm, route, message->request); return;
    default: break;
    }
    error_set(&error, ERR_UNSUPPORTED, "message %s: a coordinator does not take it", message_type_name(message->type));
    farm_refuse(farm, route, message->request, &error);
}

/* control.c - who answers what; fetch, missing; and opening finished sweeps that somebody asks about. */
#include "coordinator/control.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/farm.h"
#include "coordinator/preview.h"

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
    case MESSAGE_STATUS: status_take(farm, route, message); return;
    case MESSAGE_LIST: list_take(farm, route, message); return;
    case MESSAGE_CANCEL:
    case MESSAGE_PAUSE:
    case MESSAGE_RESUME:
    case MESSAGE_RETRY:
    case MESSAGE_PRIORITY: operate_take(farm, route, message); return;
    case MESSAGE_DRAIN_WORKER: drain_take(farm, route, message); return;
    case MESSAGE_USAGE: usage_take(farm, route, message->request); return;
    case MESSAGE_EXPLAIN: explain_take(farm, route, message); return;
    case MESSAGE_PREVIEW: preview_take(farm, route, message); return;
    case MESSAGE_WORKERS: workers_take(farm, route, message->request); return;
    default: break;
    }
    error_set(&error, ERR_UNSUPPORTED, "message %s: a coordinator does not take it", message_type_name(message->type));
    farm_refuse(farm, route, message->request, &error);
}

/* loop.c - the one loop: messages, tasks that came back, and the clock. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "coordinator/control.h"
#include "coordinator/farm.h"

enum { MESSAGES_A_TURN = 128, IDLE_MS = 1000, ROOM_MS = 1000 };

/* ---- making --------------------------------------------------------------------------------------------------------- */

static void fill_options(struct coordinator *farm, const struct coordinator_options *options) {
    farm->options = *options;
    if (!farm->options.heartbeat_ms)
        farm->options.heartbeat_ms = 1000;
    if (!farm->options.liveness_ms)
        farm->options.liveness_ms = 10000;
    if (!farm->options.max_batch)
        farm->options.max_batch = LIMIT_BATCH;
    if (!farm->options.patience_percent)
        farm->options.patience_percent = 100;
    if (!farm->options.credit_bytes)
        farm->options.credit_bytes = UINT64_C(16) << 20;
}

static enum err start_desks(struct coordinator *farm, struct error *error) {
    enum err err = inbox_create(&farm->inbox, error);
    if (!err)
        err = desk_start(&farm->ledger_desk, farm->inbox, "ledger", error);
    if (!err)
        err = desk_start(&farm->check_desk, farm->inbox, "checks", error);
    if (!err)
        err = desk_start(&farm->plan_desk, farm->inbox, "plans", error);
    if (!err)
        err = desk_start(&farm->file_desk, farm->inbox, "files", error);
    return err;
}

enum err coordinator_create(struct coordinator **out, const struct coordinator_options *options, struct error *error) {
    struct coordinator *farm = memory_get(sizeof *farm);
    enum err err = ERR_OK;
    fill_options(farm, options);
    for (uint32_t i = 0; i < options->address_count && !err; i++)
        err = address_check_bind(options->addresses[i], error);
    if (!err)
        err = store_open(&farm->store, options->store, error);
    if (!err)
        err = library_open(&farm->library, options->models, error);
    if (!err) {
        farm->ledger_path = options->ledger                      ? text_copy(options->ledger)
                            : strcmp(options->store, "mem:") == 0 ? text_copy(":memory:")
                                                                  : path_join(options->store, "ledger.sqlite");
        err = farm_recover(farm, error);
    }
    if (!err) {
        schedule_init(&farm->scheduler, &farm->queue, farm->bloom, ledger_generation(farm->ledger),
                      farm->options.max_batch);
        farm->scheduler.leases.patience_percent = farm->options.patience_percent;
        for (uint32_t i = 0; i < options->weight_count; i++)
            schedule_set_weight(&farm->scheduler, options->weights[i].user, options->weights[i].weight);
        farm->free_bytes = store_free_bytes(farm->store);
        farm->tidy_again = true;
        err = link_bind(&farm->link, options->addresses, options->address_count, error);
    }
    if (!err)
        err = start_desks(farm, error);
    if (err)
        coordinator_destroy(farm);
    else
        *out = farm;
    return err;
}

const char *coordinator_address(const struct coordinator *farm) {
    return link_address(farm->link);
}

void coordinator_destroy(struct coordinator *farm) {
    if (!farm)
        return;
    desk_stop(farm->ledger_desk);
    desk_stop(farm->check_desk);
    desk_stop(farm->plan_desk);
    desk_stop(farm->file_desk);
    inbox_destroy(farm->inbox);
    if (farm->link)
        link_destroy(farm->link);
    uploads_release(&farm->uploads);
    previews_release(&farm->previews);
    gather_release(&farm->gather);
    sessions_release(&farm->sessions);
    if (farm->scheduler.buckets)
        schedule_release(&farm->scheduler);
    bloom_destroy(farm->bloom);
    queue_release(&farm->queue);
    ledger_close(farm->ledger);
    library_close(farm->library);
    if (farm->store)
        store_close(farm->store);
    free(farm->ledger_path);
    free(farm);
}

void coordinator_stop(struct coordinator *farm) {
    uint64_t one = 1;
    atomic_store(&farm->stop, true);
    ssize_t written = write(inbox_fd(farm->inbox), &one, sizeof one); /* a full counter wakes the loop as well */
    (void)written;
}

/* ---- planning ------------------------------------------------------------------------------------------------------- */

struct planning {
    struct task task; /* first */
    struct coordinator *farm;
    struct page page;
    struct digest *keys; /* [count]: those to be asked */
    bool *known;
    size_t count;
    enum err err;
    struct error error;
};

static void planning_free(struct planning *planning) {
    page_release(&planning->page);
    free(planning->keys);
    free(planning->known);
    free(planning);
}

static void ask_work(struct task *task) {
    struct planning *planning = (struct planning *)task;
    planning->err = ledger_has(planning->known, planning->farm->ledger, planning->keys, planning->count, &planning->error);
}

/* Where the ledger could not answer the jobs are drawn; a commit of a key that is there already changes nothing. */
static void ask_finish(struct task *task) {
    struct planning *planning = (struct planning *)task;
    if (planning->err)
        log_event(LOG_ERROR, "lookup-failed", "why", planning->error.message, NULL);
    for (size_t i = 0; i < planning->count; i++)
        schedule_answer(&planning->farm->scheduler, &planning->keys[i], !planning->err && planning->known[i]);
    planning_free(planning);
}

static void page_work(struct task *task) {
    page_resolve(&((struct planning *)task)->page);
}

static void page_finish(struct task *task) {
    struct planning *planning = (struct planning *)task;
    planning->keys = memory_get_array(planning->page.count + 1, sizeof *planning->keys);
    schedule_add_page(planning->keys, &planning->count, &planning->farm->scheduler, &planning->page);
    if (!planning->count) {
        planning_free(planning);
        return;
    }
    planning->known = memory_get_array(planning->count, sizeof *planning->known);
    planning->task = (struct task){ .work = ask_work, .finish = ask_finish };
    desk_post(planning->farm->ledger_desk, task);
}

static void plan_turn(struct coordinator *farm) {
    struct page page;
    while (!farm->closing && schedule_take_page(&page, &farm->scheduler, sessions_wanted(&farm->sessions, farm->now_ms))) {
        struct planning *planning = memory_get(sizeof *planning);
        *planning = (struct planning){ .task = { .work = page_work, .finish = page_finish }, .farm = farm, .page = page };
        desk_post(farm->plan_desk, &planning->task);
    }
}

/* ---- upkeep --------------------------------------------------------------------------------------------------------- */

struct tidying {
    struct task task; /* first */
    struct coordinator *farm;
    bool more;
    enum err err;
    struct error error;
};

static void tidy_work(struct task *task) {
    struct tidying *tidying = (struct tidying *)task;
    tidying->err = ledger_tidy(&tidying->more, tidying->farm->ledger, &tidying->error);
}

static void tidy_finish(struct task *task) {
    struct tidying *tidying = (struct tidying *)task;
    struct coordinator *farm = tidying->farm;
    farm->tidying = false;
    if (tidying->err)
        log_event(LOG_ERROR, "upkeep-failed", "why", tidying->error.message, NULL);
    farm->tidy_again = !tidying->err && tidying->more;
    free(tidying);
}

static void tidy_turn(struct coordinator *farm) {
    if (farm->tidying || !farm->tidy_again || farm->closing)
        return;
    struct tidying *tidying = memory_get(sizeof *tidying);
    *tidying = (struct tidying){ .task = { .work = tidy_work, .finish = tidy_finish }, .farm = farm };
    farm->tidying = true;
    desk_post(farm->ledger_desk, &tidying->task);
}

static void room_turn(struct coordinator *farm) {
    if (farm->now_ms < farm->free_checked_ms + ROOM_MS)
        return;
    farm->free_checked_ms = farm->now_ms;
    farm->free_bytes = store_free_bytes(farm->store);
    bool below = farm->free_bytes < farm->options.free_mark_bytes;
    if (below || farm->now_ms >= farm->full_until_ms)
        farm_set_full(farm, below, below ? "below the free-space mark" : "above the free-space mark");
    uploads_expire(farm);
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

static void take_message(struct coordinator *farm, const struct route *from, struct message *message) {
    switch (message->type) {
    case MESSAGE_WORKER_HELLO:
    case MESSAGE_LEASE_REQUEST:
    case MESSAGE_PROGRESS:
    case MESSAGE_RESULTS:
    case MESSAGE_FAILURE:
    case MESSAGE_HOLD:
    case MESSAGE_OFFER:
    case MESSAGE_PREVIEWED:
    case MESSAGE_REFUSED:
    case MESSAGE_GOODBYE: session_take(farm, from, message); break;
    default: control_take(farm, from, message); break;
    }
}

static enum err receive_messages(struct coordinator *farm, struct error *error) {
    for (int i = 0; i < MESSAGES_A_TURN; i++) {
        struct route from = { .size = 0 };
        struct message message;
        bool got = false;
        enum err err = link_receive(&got, &from, &message, farm->link, error);
        if (err == ERR_CORRUPT || err == ERR_LIMIT) {
            log_event(LOG_WARN, "message-damaged", "why", error->message, NULL);
            if (from.size)
                farm_refuse(farm, &from, 0, error);
            continue;
        }
        if (err || !got)
            return err;
        take_message(farm, &from, &message);
        message_release(&message);
    }
    return ERR_OK;
}

static void act(struct coordinator *farm) {
    sessions_expire(farm);
    previews_expire(farm);
    room_turn(farm);
    plan_turn(farm);
    sessions_feed(farm);
    gather_turn(farm);
    tidy_turn(farm);
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t coordinator_wakes_ms(struct coordinator *farm) {
    if (!farm->closing && schedule_wants_page(&farm->scheduler, sessions_wanted(&farm->sessions, farm->now_ms)))
        return farm->now_ms; /* a sweep with long stretches of nothing to do: look on */
    return earlier(farm->now_ms + IDLE_MS, earlier(sessions_next_ms(farm), gather_next_ms(farm)));
}

static enum err wait_for_something(struct coordinator *farm, struct error *error) {
    zmq_pollitem_t items[] = {
        { .socket = link_socket(farm->link), .events = ZMQ_POLLIN },
        { .fd = inbox_fd(farm->inbox), .events = ZMQ_POLLIN },
    };
    uint64_t next_ms = coordinator_wakes_ms(farm), now_ms = clock_monotonic_ms();
    if (zmq_poll(items, 2, next_ms > now_ms ? (long)(next_ms - now_ms) : 0) < 0 && errno != EINTR)
        return error_set(error, ERR_IO, "waiting for messages: %s", zmq_strerror(errno));
    return ERR_OK;
}

/* What has arrived is committed, what is under way comes to its end; nothing new is begun. */
static void wind_up(struct coordinator *farm) {
    farm->closing = true;
    previews_close(farm);
    while (inbox_outstanding(farm->inbox) || farm->gather.first) {
        zmq_pollitem_t item = { .fd = inbox_fd(farm->inbox), .events = ZMQ_POLLIN };
        farm->now_ms = clock_monotonic_ms();
        gather_turn(farm);
        zmq_poll(&item, 1, IDLE_MS / 10);
        inbox_run(farm->inbox);
    }
}

enum err coordinator_turn(struct coordinator *farm, struct error *error) {
    farm->now_ms = clock_monotonic_ms();
    enum err err = receive_messages(farm, error);
    inbox_run(farm->inbox);
    if (!err)
        act(farm);
    return err;
}

enum err coordinator_run(struct coordinator *farm, struct error *error) {
    enum err err = coordinator_turn(farm, error);
    while (!err && !atomic_load(&farm->stop)) {
        err = wait_for_something(farm, error);
        if (!err)
            err = coordinator_turn(farm, error);
    }
    wind_up(farm);
    return err;
}

/* commit.c - putting a group together, writing it, and telling everybody. */
#include "coordinator/commit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/farm.h"

/* Beyond GROUP_BYTES a group only grows in memory: two syncs cost less than its writing, and the next one could be checked. */
enum { RESULTS_MOST = LEDGER_GROUP, GROUP_BYTES = 16 << 20, PLACES_MOST = 1 << 16, LOSSES_MOST = 4096, RETRY_MS = 1000 };

/* A place that this commit makes done or failed. */
struct settled {
    struct place place;
    bool done;      /* else failed */
    bool of_result; /* by a result of this commit; else it was marked */
    bool rendered;  /* and drawn for its sweep */
    uint32_t render_ms; /* in so many milliseconds of a device */
};

struct commit {
    struct task task; /* first */
    struct coordinator *farm;
    struct delivery *deliveries;
    struct result_item **items; /* [item_count] valid ones, distinct keys; borrowed from deliveries */
    bool *perhaps_known;        /* [item_count]: the filter knows the key */
    size_t item_count;
    uint32_t *slots;            /* [slot_count]: item + 1 by key, open addressing; a power of two, at least twice the items */
    size_t slot_count;
    struct settled *settled;    /* [settled_count] by sweep and index */
    size_t settled_count, settled_room;
    struct loss *losses;
    size_t loss_count;
    struct ledger_failure *failures; /* [loss_count] */
    struct ledger_bits *bits;
    size_t bits_count;
    struct ledger_change *changes;
    size_t change_count;
    uint64_t unix_ms;
    enum err err;
    struct error error;
};

/* ---- putting it together -------------------------------------------------------------------------------------------- */

/* The slot that holds the key, or the free one where it would stand. */
static uint32_t *slot_of(const struct commit *commit, const struct digest *key) {
    uint64_t word;
    memcpy(&word, key->bytes, sizeof word);
    for (size_t i = word & (commit->slot_count - 1);; i = (i + 1) & (commit->slot_count - 1)) {
        uint32_t at = commit->slots[i];
        if (!at || digest_equal(&commit->items[at - 1]->key, key))
            return &commit->slots[i];
    }
}

static void make_room(struct commit *commit, size_t items) {
    for (commit->slot_count = 16; commit->slot_count < 2 * items;)
        commit->slot_count *= 2;
    commit->slots = memory_get_array(commit->slot_count, sizeof *commit->slots);
    commit->items = memory_get_array(items + 1, sizeof *commit->items);
    commit->perhaps_known = memory_get_array(items + 1, sizeof *commit->perhaps_known);
}

static void settle(struct commit *commit, const struct settled *settled) {
    if (commit->settled_count == commit->settled_room) {
        commit->settled_room = commit->settled_room ? 2 * commit->settled_room : 64;
        commit->settled = memory_grow(commit->settled, commit->settled_room, sizeof *commit->settled);
    }
    commit->settled[commit->settled_count++] = *settled;
}

static void take_item(struct commit *commit, struct result_item *item) {
    struct scheduler *scheduler = &commit->farm->scheduler;
    uint32_t *slot = slot_of(commit, &item->key);
    if (*slot)
        return;
    *slot = (uint32_t)commit->item_count + 1;
    commit->items[commit->item_count] = item;
    commit->perhaps_known[commit->item_count++] = bloom_has(commit->farm->bloom, &item->key);
    bloom_add(commit->farm->bloom, &item->key); /* before it is there: who asks the ledger asks behind us */
    const struct flight *flight = schedule_find(scheduler, &item->key);
    for (uint32_t p = 0; flight && p < flight->place_count; p++) {
        bool drawn = p == 0 && flight->state != FLIGHT_ASKED; /* asked about: it was drawn before, this is its second picture */
        settle(commit, &(struct settled){ flight->places[p], true, true, drawn, drawn ? item->render_ms : 0 });
    }
}

static void take_deliveries(struct commit *commit) {
    struct gather *gather = &commit->farm->gather;
    struct delivery **last = &commit->deliveries;
    size_t taken = 0;
    uint64_t bytes = 0;
    while (gather->first && (taken == 0 || (taken + gather->first->results.count <= RESULTS_MOST && bytes < GROUP_BYTES))) {
        *last = gather->first;
        taken += gather->first->results.count;
        for (size_t i = 0; i < gather->first->results.count; i++)
            bytes += gather->first->results.items[i].png_size;
        gather->first = gather->first->next;
        (*last)->next = NULL;
        last = &(*last)->next;
    }
    if (!gather->first)
        gather->last = NULL;
    else
        gather->since_ms = 0;
    make_room(commit, taken);
    for (struct delivery *delivery = commit->deliveries; delivery; delivery = delivery->next)
        for (size_t i = 0; i < delivery->results.count; i++)
            if (!delivery->errors[i].code) {
                gather->waiting--;
                take_item(commit, &delivery->results.items[i]);
            }
}

static void take_marks(struct commit *commit) {
    struct scheduler *scheduler = &commit->farm->scheduler;
    size_t count = scheduler->mark_count < PLACES_MOST ? scheduler->mark_count : PLACES_MOST;
    if (!count)
        return;
    for (size_t i = 0; i < count; i++)
        settle(commit, &(struct settled){ scheduler->marks[i], true, false, false, 0 });
    scheduler->mark_count -= count;
    memmove(scheduler->marks, scheduler->marks + count, scheduler->mark_count * sizeof *scheduler->marks);
}

static void take_losses(struct commit *commit) {
    struct scheduler *scheduler = &commit->farm->scheduler;
    size_t count = scheduler->loss_count < LOSSES_MOST ? scheduler->loss_count : LOSSES_MOST;
    if (!count)
        return;
    commit->losses = memory_get_array(count, sizeof *commit->losses);
    commit->failures = memory_get_array(count, sizeof *commit->failures);
    memcpy(commit->losses, scheduler->losses, count * sizeof *commit->losses);
    commit->loss_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct loss *loss = &commit->losses[i];
        settle(commit, &(struct settled){ loss->place, false, false, false, 0 });
        commit->failures[i] = (struct ledger_failure){ loss->place.order->number, loss->place.index, loss->code, loss->text };
    }
    scheduler->loss_count -= count;
    memmove(scheduler->losses, scheduler->losses + count, scheduler->loss_count * sizeof *scheduler->losses);
}

static int settled_order(const void *a, const void *b) {
    const struct settled *left = a, *right = b;
    if (left->place.order != right->place.order)
        return left->place.order->number < right->place.order->number ? -1 : 1;
    return left->place.index < right->place.index ? -1 : left->place.index > right->place.index;
}

/* settled[0..count) lie in one chunk of one sweep. */
static void add_bits(struct commit *commit, const struct settled *settled, size_t count) {
    const struct order *order = settled->place.order;
    uint32_t *done = memory_get_array(count, sizeof *done), *failed = memory_get_array(count, sizeof *failed);
    size_t done_count = 0, failed_count = 0;
    struct ledger_bits bits = { .sweep = order->number, .chunk = settled->place.index / CHUNK_PLACES,
                                .done = BYTES_INIT, .failed = BYTES_INIT };
    for (size_t i = 0; i < count; i++)
        if (settled[i].done)
            done[done_count++] = settled[i].place.index;
        else
            failed[failed_count++] = settled[i].place.index;
    order_chunk(&bits.done, &bits.failed, order, bits.chunk, done, done_count, failed, failed_count);
    commit->bits = memory_grow(commit->bits, commit->bits_count + 1, sizeof *commit->bits);
    commit->bits[commit->bits_count++] = bits;
    free(done);
    free(failed);
}

/* settled[0..count) are of one sweep: what becomes of it. */
static void add_change(struct commit *commit, const struct settled *settled, size_t count) {
    const struct order *order = settled->place.order;
    struct ledger_change change = { .sweep = order->number, .state = order->state, .rendered = order->rendered,
                                    .device_ms = order->device_ms, .finished_unix_ms = order->finished_unix_ms };
    uint64_t settled_now = order->done + order->failed;
    for (size_t i = 0; i < count; i++) {
        enum job_state before = order_job_state(order, settled[i].place.index);
        bool twice = i && settled[i].place.index == settled[i - 1].place.index;
        if (!twice && before != JOB_DONE && before != JOB_FAILED) {
            settled_now++;
            change.rendered += settled[i].rendered;
            change.device_ms += settled[i].render_ms;
        }
    }
    for (size_t i = 0; i < commit->loss_count; i++)
        if (commit->losses[i].place.order == order)
            change.last_error = commit->losses[i].text;
    if ((order->state == SWEEP_ACTIVE || order->state == SWEEP_PAUSED) && settled_now >= order->jobs) {
        change.state = SWEEP_DONE;
        change.finished_unix_ms = commit->unix_ms;
    }
    commit->changes = memory_grow(commit->changes, commit->change_count + 1, sizeof *commit->changes);
    commit->changes[commit->change_count++] = change;
}

static void add_sweeps(struct commit *commit) {
    const struct settled *settled = commit->settled;
    if (commit->settled_count)
        qsort(commit->settled, commit->settled_count, sizeof *commit->settled, settled_order);
    for (size_t first = 0, i = 0; i < commit->settled_count; i++) {
        bool last = i + 1 == commit->settled_count || settled[i + 1].place.order != settled[i].place.order ||
                    settled[i + 1].place.index / CHUNK_PLACES != settled[i].place.index / CHUNK_PLACES;
        if (last) {
            add_bits(commit, settled + first, i + 1 - first);
            first = i + 1;
        }
    }
    for (size_t first = 0, i = 0; i < commit->settled_count; i++)
        if (i + 1 == commit->settled_count || settled[i + 1].place.order != settled[i].place.order) {
            add_change(commit, settled + first, i + 1 - first);
            first = i + 1;
        }
}

/* ---- the ledger desk's part ------------------------------------------------------------------------------------------ */

/* Results whose key the ledger has already go: the first valid commit wins. */
static enum err drop_known(struct commit *commit, struct error *error) {
    size_t kept = 0;
    for (size_t i = 0; i < commit->item_count; i++) {
        bool known = false;
        enum err err = ERR_OK;
        if (commit->perhaps_known[i])
            err = ledger_has(&known, commit->farm->ledger, &commit->items[i]->key, 1, error);
        if (err)
            return err;
        if (!known)
            commit->items[kept++] = commit->items[i];
    }
    commit->item_count = kept;
    return ERR_OK;
}

static enum err write_all(struct commit *commit, struct error *error) {
    size_t count = commit->item_count;
    struct store_item *objects = memory_get_array(count + 1, sizeof *objects);
    struct ledger_result *results = memory_get_array(count + 1, sizeof *results);
    for (size_t i = 0; i < count; i++) {
        const struct result_item *item = commit->items[i];
        objects[i] = (struct store_item){ item->picture, item->png, item->png_size };
        results[i] = (struct ledger_result){ item->key, item->picture, item->pixels, item->render_ms };
    }
    struct ledger_commit rows = {
        .unix_ms = commit->unix_ms,
        .results = results, .result_count = count,
        .bits = commit->bits, .bits_count = commit->bits_count,
        .failures = commit->failures, .failure_count = commit->loss_count,
        .changes = commit->changes, .change_count = commit->change_count,
    };
    enum err err = count ? store_put(commit->farm->store, objects, count, error) : ERR_OK;
    if (!err)
        err = ledger_commit(commit->farm->ledger, &rows, error);
    free(objects);
    free(results);
    return err;
}

static void commit_work(struct task *task) {
    struct commit *commit = (struct commit *)task;
    commit->err = drop_known(commit, &commit->error);
    if (!commit->err)
        commit->err = write_all(commit, &commit->error);
}

/* ---- afterwards ------------------------------------------------------------------------------------------------------ */

/* From lease to object: what a lease of this log has become. */
static void log_committed(const struct delivery *delivery, const struct worker *worker, size_t jobs, const struct result_item *first) {
    char lease[24], count[24], key[DIGEST_HEX_SIZE], picture[DIGEST_HEX_SIZE];
    snprintf(lease, sizeof lease, "%llu", (unsigned long long)delivery->results.lease);
    snprintf(count, sizeof count, "%zu", jobs);
    digest_hex(&first->key, key);
    digest_hex(&first->picture, picture);
    log_event(LOG_INFO, "committed", "lease", lease, "worker", worker->name, "jobs", count, "first_key", key, "first_picture",
              picture, NULL);
}

static void acknowledge(struct coordinator *farm, const struct delivery *delivery) {
    struct message message = { .type = MESSAGE_ACKNOWLEDGED, .request = delivery->request };
    struct digest keys[LIMIT_BATCH];
    struct session *session = session_find_worker(&farm->sessions, delivery->worker);
    const struct result_item *first = NULL;
    for (size_t i = 0; i < delivery->results.count; i++) {
        if (delivery->errors[i].code)
            continue;
        first = first ? first : &delivery->results.items[i];
        keys[message.keys.count++] = delivery->results.items[i].key;
    }
    message.keys.keys = keys;
    log_committed(delivery, schedule_worker_number(&farm->scheduler, delivery->worker), message.keys.count, first);
    if (session) {
        session->jobs_done += message.keys.count;
        rate_add(&session->rate, (uint32_t)message.keys.count, farm->now_ms);
    }
    farm_send(farm, session ? &session->route : &delivery->route, &message);
}

static void apply_changes(struct commit *commit) {
    for (size_t i = 0; i < commit->change_count; i++) {
        const struct ledger_change *change = &commit->changes[i];
        struct order *order = queue_find_number(&commit->farm->queue, change->sweep);
        order->rendered = change->rendered;
        order->device_ms = change->device_ms;
        if (change->state != SWEEP_DONE || (order->state != SWEEP_ACTIVE && order->state != SWEEP_PAUSED))
            continue;
        order->state = SWEEP_DONE;
        schedule_order_changed(&commit->farm->scheduler, order);
        order->finished_unix_ms = change->finished_unix_ms;
        char done[24], failed[24], id[DIGEST_HEX_SIZE];
        digest_hex(&order->id, id);
        snprintf(done, sizeof done, "%llu", (unsigned long long)order->done);
        snprintf(failed, sizeof failed, "%llu", (unsigned long long)order->failed);
        log_event(LOG_INFO, "sweep-done", "sweep", id, "name", order->name, "done", done, "failed", failed, NULL);
    }
}

static void committed(struct commit *commit) {
    struct coordinator *farm = commit->farm;
    for (size_t i = 0; i < commit->settled_count; i++) {
        const struct settled *settled = &commit->settled[i];
        bool is_new = settled->done ? order_set_done(settled->place.order, settled->place.index)
                                    : order_set_failed(settled->place.order, settled->place.index);
        if (is_new && settled->rendered)
            rate_add(&settled->place.order->rate, 1, farm->now_ms);
    }
    for (size_t i = 0; i < commit->loss_count; i++)
        order_set_error(commit->losses[i].place.order, commit->losses[i].text);
    apply_changes(commit);
    farm->tidy_again = farm->tidy_again || commit->item_count;
    for (const struct delivery *delivery = commit->deliveries; delivery; delivery = delivery->next) {
        for (size_t i = 0; i < delivery->results.count; i++)
            if (!delivery->errors[i].code)
                schedule_committed(&farm->scheduler, &delivery->results.items[i].key);
        acknowledge(farm, delivery);
    }
}

/* Nothing of it is promised: workers send again, marks and losses wait. */
static void not_committed(struct commit *commit) {
    struct coordinator *farm = commit->farm;
    log_event(LOG_ERROR, "commit-failed", "code", err_name(commit->err), "why", commit->error.message, NULL);
    if (commit->err == ERR_NO_SPACE)
        farm_set_full(farm, true, commit->error.message);
    farm->gather.not_before_ms = farm->now_ms + RETRY_MS;
    for (const struct delivery *delivery = commit->deliveries; delivery; delivery = delivery->next) {
        for (size_t i = 0; i < delivery->results.count; i++)
            if (!delivery->errors[i].code)
                schedule_commit_failed(&farm->scheduler, &delivery->results.items[i].key);
        farm_refuse(farm, &delivery->route, delivery->request, &commit->error);
    }
    for (size_t i = 0; i < commit->settled_count; i++)
        if (commit->settled[i].done && !commit->settled[i].of_result)
            schedule_mark(&farm->scheduler, commit->settled[i].place);
    for (size_t i = 0; i < commit->loss_count; i++)
        schedule_lose(&farm->scheduler, commit->losses[i].place, commit->losses[i].code, commit->losses[i].text);
}

static void commit_free(struct commit *commit) {
    while (commit->deliveries) {
        struct delivery *delivery = commit->deliveries;
        commit->deliveries = delivery->next;
        delivery_free(delivery);
    }
    for (size_t i = 0; i < commit->loss_count; i++)
        free(commit->losses[i].text);
    for (size_t i = 0; i < commit->bits_count; i++) {
        bytes_release(&commit->bits[i].done);
        bytes_release(&commit->bits[i].failed);
    }
    free(commit->slots);
    free(commit->items);
    free(commit->perhaps_known);
    free(commit->settled);
    free(commit->losses);
    free(commit->failures);
    free(commit->bits);
    free(commit->changes);
    free(commit);
}

static void commit_finish(struct task *task) {
    struct commit *commit = (struct commit *)task;
    commit->farm->gather.committing = false;
    if (commit->err)
        not_committed(commit);
    else
        committed(commit);
    commit_free(commit);
}

void commit_begin(struct coordinator *farm) {
    struct commit *commit = memory_get(sizeof *commit);
    commit->task = (struct task){ .work = commit_work, .finish = commit_finish };
    commit->farm = farm;
    commit->unix_ms = clock_unix_ms();
    take_deliveries(commit);
    take_marks(commit);
    take_losses(commit);
    add_sweeps(commit);
    farm->gather.committing = true;
    desk_post(farm->ledger_desk, &commit->task);
}

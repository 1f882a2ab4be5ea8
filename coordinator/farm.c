/* farm.c - answers on their way out, the disk's room, and taking up the sweeps of an earlier life. */
#include "coordinator/farm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { FULL_MS = 5000 };

/* ---- answers -------------------------------------------------------------------------------------------------------- */

enum err farm_send(struct coordinator *farm, const struct route *to, const struct message *message) {
    struct error error;
    enum err err = link_send(farm->link, to, message, &error);
    if (err) /* a client that is gone needs no answer; a worker asks again */
        log_event(err == ERR_UNREACHABLE ? LOG_DEBUG : LOG_WARN, "not-sent", "message", message_type_name(message->type),
                  "why", error.message, NULL);
    return err;
}

void farm_refuse(struct coordinator *farm, const struct route *to, uint64_t request, const struct error *error) {
    struct message answer = { .type = MESSAGE_REFUSED, .request = request,
                              .refused = { error->code, (char *)error->message } };
    farm_send(farm, to, &answer);
}

void farm_done(struct coordinator *farm, const struct route *to, uint64_t request) {
    struct message answer = { .type = MESSAGE_DONE, .request = request };
    farm_send(farm, to, &answer);
}

void farm_set_full(struct coordinator *farm, bool full, const char *why) {
    char bytes[24];
    if (full)
        farm->full_until_ms = farm->now_ms + FULL_MS;
    if (farm->store_full == full)
        return;
    farm->store_full = full;
    snprintf(bytes, sizeof bytes, "%" PRIu64, farm->free_bytes);
    log_event(full ? LOG_ERROR : LOG_INFO, full ? "store-full" : "store-has-room", "free_bytes", bytes, "why", why, "leasing",
              full ? "stopped" : "goes on", NULL);
}

/* ---- sweeps --------------------------------------------------------------------------------------------------------- */

char *farm_object_path(void *context, const struct digest *digest) {
    struct coordinator *farm = context;
    return store_has(farm->store, digest) ? store_path(farm->store, digest) : NULL;
}

enum err farm_open_sweep(struct sweep **out, struct coordinator *farm, const struct digest *id, struct error *error) {
    struct bytes json = BYTES_INIT;
    struct sweep *sweep = memory_get(sizeof *sweep);
    enum err err = store_get(&json, farm->store, id, LIMIT_SWEEP_BYTES, error);
    if (!err)
        err = sweep_parse(sweep, json.data, json.size, error);
    if (!err && (err = sweep_attach(sweep, farm_object_path, farm, error)))
        sweep_release(sweep);
    bytes_release(&json);
    if (err)
        free(sweep);
    else
        *out = sweep;
    return err;
}

/* ---- recovery ------------------------------------------------------------------------------------------------------- */

static enum err take_bits(void *context, const struct ledger_bits *bits, struct error *error) {
    return order_load_chunk(context, bits->chunk, bits->done.data, bits->done.size, bits->failed.data, bits->failed.size,
                            error);
}

/* A sweep whose object is lost or damaged stays, and says why it cannot go on; the others do. */
static void open_order(struct coordinator *farm, struct order *order) {
    struct error error;
    char hex[DIGEST_HEX_SIZE];
    if (farm_open_sweep(&order->sweep, farm, &order->id, &error) == ERR_OK)
        return;
    digest_hex(&order->id, hex);
    log_event(LOG_ERROR, "sweep-broken", "sweep", hex, "name", order->name, "why", error.message, NULL);
    order_set_error(order, error.message);
}

static enum err take_sweep(void *context, const struct ledger_sweep *row, struct error *error) {
    struct coordinator *farm = context;
    struct order order = {
        .number = row->number, .touched = row->touched, .id = row->id, .name = text_copy(row->name),
        .user = text_copy(row->user), .state = row->state, .priority = row->priority, .device_ms = row->device_ms, .places = row->places, .jobs = row->jobs,
        .rendered = row->rendered, .submitted_unix_ms = row->submitted_unix_ms,
        .finished_unix_ms = row->finished_unix_ms, .last_error = text_copy(row->last_error),
    };
    struct order *added = queue_add(&farm->queue, &order);
    enum err err = ledger_each_chunk(farm->ledger, added->number, take_bits, added, error);
    bool open = added->state == SWEEP_ACTIVE || added->state == SWEEP_PAUSED;
    if (!err && open && added->done + added->failed >= added->jobs)
        added->state = SWEEP_DONE; /* asked for once more in the moment in which the commit of its last job was under way */
    else if (!err && open)
        open_order(farm, added);
    return err;
}

static void take_key(void *context, const struct digest *key) {
    bloom_add(context, key);
}

static bool one_is_enough(void *context, const struct digest *digest, uint64_t size) {
    (void)digest;
    (void)size;
    *(bool *)context = true;
    return false;
}

enum err farm_recover(struct coordinator *farm, struct error *error) {
    bool fresh, objects = false;
    char sweeps[24], keys[24];
    enum err err = ledger_open(&farm->ledger, &fresh, farm->ledger_path, error);
    if (!err && fresh)
        err = store_list(farm->store, one_is_enough, &objects, error);
    if (err)
        return err;
    if (objects)
        log_event(LOG_WARN, "ledger-missing", "path", farm->ledger_path, "what",
                  "the store has objects and no ledger: a new one is begun, what they belong to is not known", NULL);
    queue_init(&farm->queue);
    if ((err = ledger_each_sweep(farm->ledger, take_sweep, farm, error)))
        return err;
    uint64_t key_count = ledger_key_count(farm->ledger);
    farm->bloom = bloom_create(key_count + key_count / 4);
    if ((err = ledger_each_key(farm->ledger, take_key, farm->bloom, error)))
        return err;
    snprintf(sweeps, sizeof sweeps, "%zu", farm->queue.count);
    snprintf(keys, sizeof keys, "%" PRIu64, key_count);
    log_event(LOG_INFO, "ledger", "path", farm->ledger_path, "sweeps", sweeps, "results", keys, NULL);
    return ERR_OK;
}

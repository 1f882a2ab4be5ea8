/* gather.c - deliveries and their checks; commit.c makes them durable. */
#include "coordinator/gather.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "coordinator/commit.h"
#include "coordinator/farm.h"
#include "picture/picture.h"

enum { GROUP_MS = 5, GROUP_ITEMS = 256 };

/* ---- checking ------------------------------------------------------------------------------------------------------- */

static enum err mismatch(const char *what, const struct digest *want, const struct digest *have, struct error *error) {
    char want_hex[DIGEST_HEX_SIZE], have_hex[DIGEST_HEX_SIZE];
    digest_hex(want, want_hex);
    digest_hex(have, have_hex);
    return error_set(error, ERR_CORRUPT, "want %s %.16s..., the file has %.16s...", what, want_hex, have_hex);
}

static enum err check_job(const struct result_item *item, const struct png_facts *facts, struct error *error) {
    size_t size = strlen(facts->text);
    struct digest key = digest_of(facts->text, size);
    struct spec spec;
    if (!digest_equal(&key, &item->key))
        return mismatch("in its own chunk the job", &item->key, &key, error);
    enum err err = spec_parse(&spec, facts->text, size, error);
    if (err)
        return err;
    if (facts->width != spec.width || facts->height != spec.height)
        err = error_set(error, ERR_CORRUPT, "want %ux%u pixels, the file has %ux%u", spec.width, spec.height, facts->width,
                        facts->height);
    spec_release(&spec);
    return err;
}

enum err gather_check(const struct result_item *item, struct error *error) {
    struct digest picture = digest_of(item->png, item->png_size);
    struct png_facts facts;
    if (!digest_equal(&picture, &item->picture))
        return mismatch("a file of sha256", &item->picture, &picture, error);
    enum err err = png_inspect(&facts, item->png, item->png_size, "seedfarm", error);
    if (err)
        return err;
    if (!facts.text)
        err = error_set(error, ERR_CORRUPT, "want a seedfarm chunk with the job, the file has none");
    else
        err = check_job(item, &facts, error);
    if (!err && !digest_equal(&facts.pixels, &item->pixels))
        err = mismatch("pixel digest", &item->pixels, &facts.pixels, error);
    free(facts.text);
    return err;
}

static void check_work(struct task *task) {
    struct delivery *delivery = (struct delivery *)task;
    for (size_t i = 0; i < delivery->results.count; i++)
        if (gather_check(&delivery->results.items[i], &delivery->errors[i]) == ERR_OK)
            delivery->errors[i].code = ERR_OK;
}

/* ---- deliveries ----------------------------------------------------------------------------------------------------- */

void delivery_free(struct delivery *delivery) {
    for (size_t i = 0; i < delivery->results.count; i++)
        free(delivery->results.items[i].png);
    free(delivery->results.items);
    free(delivery->errors);
    free(delivery);
}

/* An item that is not what it claims to be: its job goes back, charged; the worker hears why. */
static void refuse_item(struct coordinator *farm, const struct delivery *delivery, size_t i) {
    struct worker *worker = schedule_worker_number(&farm->scheduler, delivery->worker);
    struct error error = delivery->errors[i];
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&delivery->results.items[i].key, hex);
    error_prefix(&error, "result %.16s...", hex);
    log_event(LOG_WARN, "result-refused", "worker", worker->name, "key", hex, "code",
              err_name(error.code), "why", error.message, NULL);
    schedule_fail_key(&farm->scheduler, worker, &delivery->results.items[i].key, error.code, error.message, farm->now_ms);
    farm_refuse(farm, &delivery->route, delivery->request, &error);
}

static void check_finish(struct task *task) {
    struct delivery *delivery = (struct delivery *)task;
    struct coordinator *farm = delivery->farm;
    struct gather *gather = &farm->gather;
    struct worker *worker = schedule_worker_number(&farm->scheduler, delivery->worker);
    size_t valid = 0;
    for (size_t i = 0; i < delivery->results.count; i++) {
        if (delivery->errors[i].code) {
            refuse_item(farm, delivery, i);
            continue;
        }
        const struct result_item *item = &delivery->results.items[i];
        valid++;
        schedule_delivered(&farm->scheduler, worker, &item->key, item->render_ms, farm->now_ms);
        schedule_commit_begin(&farm->scheduler, &item->key);
    }
    if (!valid) {
        delivery_free(delivery);
        return;
    }
    if (!gather->first)
        gather->since_ms = farm->now_ms;
    gather->waiting += valid;
    delivery->next = NULL;
    *(gather->last ? &gather->last->next : &gather->first) = delivery;
    gather->last = delivery;
}

void gather_take(struct coordinator *farm, struct session *session, struct message *message) {
    struct error error;
    if (farm->store_full) {
        error_set(&error, ERR_NO_SPACE, "results: the store is full, %llu bytes are free", (unsigned long long)farm->free_bytes);
        farm_refuse(farm, &session->route, message->request, &error);
        return;
    }
    struct delivery *delivery = memory_get(sizeof *delivery);
    delivery->task = (struct task){ .work = check_work, .finish = check_finish };
    delivery->farm = farm;
    delivery->route = session->route;
    delivery->worker = session->worker->number;
    delivery->request = message->request;
    delivery->results = message->results;
    delivery->errors = memory_get_array(delivery->results.count, sizeof *delivery->errors);
    message->results = (struct message_results){ 0 };
    desk_post(farm->check_desk, &delivery->task);
}

void gather_turn(struct coordinator *farm) {
    struct gather *gather = &farm->gather;
    bool other = farm->scheduler.mark_count || farm->scheduler.loss_count;
    bool due = gather->waiting >= GROUP_ITEMS || farm->closing ||
               (gather->first && farm->now_ms >= gather->since_ms + GROUP_MS);
    if (gather->committing || farm->now_ms < gather->not_before_ms || !(due || other) || !(gather->first || other))
        return;
    commit_begin(farm);
}

uint64_t gather_next_ms(const struct coordinator *farm) {
    const struct gather *gather = &farm->gather;
    if (gather->committing || !(gather->first || farm->scheduler.mark_count || farm->scheduler.loss_count))
        return UINT64_MAX;
    uint64_t due_ms = gather->first ? gather->since_ms + GROUP_MS : farm->now_ms;
    return due_ms > gather->not_before_ms ? due_ms : gather->not_before_ms;
}

void gather_release(struct gather *gather) {
    while (gather->first) {
        struct delivery *delivery = gather->first;
        gather->first = delivery->next;
        delivery_free(delivery);
    }
    *gather = (struct gather){ 0 };
}

/* queue.c - orders and their bitmaps. */
#include "coordinator/queue.h"

#include <assert.h>
#include <inttypes.h>
#include <roaring/roaring.h>
#include <stdlib.h>
#include <string.h>

enum { ID_PREFIX_MINIMUM = 6 };

void queue_init(struct queue *queue) {
    *queue = (struct queue){ 0 };
}

static void order_free(struct order *order) {
    if (order->sweep)
        sweep_release(order->sweep);
    free(order->sweep);
    free(order->name);
    free(order->user);
    free(order->last_error);
    roaring_bitmap_free(order->done_places);
    roaring_bitmap_free(order->failed_places);
    roaring_bitmap_free(order->taken_places);
    roaring_bitmap_free(order->leased_places);
    free(order);
}

void queue_release(struct queue *queue) {
    for (size_t i = 0; i < queue->count; i++)
        order_free(queue->orders[i]);
    free(queue->orders);
    *queue = (struct queue){ 0 };
}

struct order *queue_add(struct queue *queue, const struct order *order) {
    struct order *added = memory_get(sizeof *added);
    *added = *order;
    added->done_places = roaring_bitmap_create();
    added->failed_places = roaring_bitmap_create();
    added->taken_places = roaring_bitmap_create();
    added->leased_places = roaring_bitmap_create();
    added->docket = NULL;
    added->counted = 0;
    added->counted_cost = 0;
    assert(!queue->count || queue->orders[queue->count - 1]->number < order->number);
    queue->orders = memory_grow(queue->orders, queue->count + 1, sizeof *queue->orders);
    queue->orders[queue->count++] = added;
    if (added->touched > queue->touches)
        queue->touches = added->touched;
    added->queue = queue;
    order_recount(added);
    return added;
}

struct order *queue_find(const struct queue *queue, const struct digest *id) {
    for (size_t i = queue->count; i-- > 0;)
        if (digest_equal(&queue->orders[i]->id, id))
            return queue->orders[i];
    return NULL;
}

struct order *queue_find_number(const struct queue *queue, uint64_t number) {
    for (size_t i = queue->count; i-- > 0;)
        if (queue->orders[i]->number == number)
            return queue->orders[i];
    return NULL;
}

static struct order *find_prefix(bool *ambiguous, const struct queue *queue, const char *word) {
    struct order *found = NULL;
    size_t size = strlen(word);
    *ambiguous = false;
    if (size < ID_PREFIX_MINIMUM || size >= DIGEST_HEX_SIZE || strspn(word, "0123456789abcdef") != size)
        return NULL;
    for (size_t i = 0; i < queue->count; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&queue->orders[i]->id, hex);
        if (strncmp(hex, word, size) == 0) {
            *ambiguous = found != NULL;
            found = queue->orders[i];
        }
    }
    return found;
}

enum err queue_find_word(struct order **order, const struct queue *queue, const char *word, struct error *error) {
    struct order *newest = NULL;
    bool ambiguous;
    for (size_t i = 0; i < queue->count; i++)
        if (strcmp(queue->orders[i]->name, word) == 0 && (!newest || queue->orders[i]->touched > newest->touched))
            newest = queue->orders[i];
    if (!newest) {
        newest = find_prefix(&ambiguous, queue, word);
        if (newest && ambiguous)
            return error_set(error, ERR_INVALID, "sweep \"%.80s\": more than one id begins like that, write more of it", word);
    }
    if (!newest)
        return error_set(error, ERR_NOT_FOUND, "sweep \"%.120s\": the farm has none of that id or name (it has %zu)", word,
                         queue->count);
    *order = newest;
    return ERR_OK;
}

bool order_may_have_untaken(const struct order *order) {
    return order->state == SWEEP_ACTIVE && order->sweep && order->cursor < order->places;
}

/* Past a run of places that are all in the bitmap: whole chunks at a time where they are full. */
static uint64_t skip_full_chunks(const roaring_bitmap_t *bitmap, uint64_t index, uint64_t places) {
    while (index % CHUNK_PLACES == 0 && index + CHUNK_PLACES <= places &&
           roaring_bitmap_range_cardinality(bitmap, index, index + CHUNK_PLACES) == CHUNK_PLACES)
        index += CHUNK_PLACES;
    return index;
}

bool order_take(uint32_t *index, struct order *order, uint32_t *budget) {
    while (order->cursor < order->places) {
        if (order->cursor % CHUNK_PLACES == 0)
            order->cursor = skip_full_chunks(order->done_places, order->cursor, order->places);
        if (order->cursor >= order->places)
            break;
        if (*budget == 0)
            return false;
        (*budget)--;
        uint32_t at = (uint32_t)order->cursor++;
        if (roaring_bitmap_contains(order->done_places, at) || roaring_bitmap_contains(order->failed_places, at) ||
            roaring_bitmap_contains(order->taken_places, at) || sweep_excluded(order->sweep, at))
            continue;
        roaring_bitmap_add(order->taken_places, at);
        *index = at;
        return true;
    }
    return false;
}

uint64_t order_waiting(const struct order *order) {
    uint64_t gone = order->done + order->failed + order->running;
    return order->jobs > gone ? order->jobs - gone : 0;
}

void order_recount(struct order *order) {
    struct queue *queue = order->queue;
    uint64_t counted = order->state == SWEEP_ACTIVE ? order_waiting(order) : 0;
    double cost = (double)counted * order->job_cost;
    queue->waiting += counted - order->counted; /* modulo 2^64: right in either direction */
    queue->waiting_cost += cost - order->counted_cost;
    if (!queue->waiting)
        queue->waiting_cost = 0; /* what rounding has left */
    order->counted = counted;
    order->counted_cost = cost;
}

uint64_t order_waiting_before(const struct order *order, uint64_t index) {
    return index - roaring_bitmap_range_cardinality(order->done_places, 0, index) -
           roaring_bitmap_range_cardinality(order->failed_places, 0, index) -
           roaring_bitmap_range_cardinality(order->leased_places, 0, index);
}

bool order_is_finished(const struct order *order) {
    return order->done + order->failed >= order->jobs;
}

/* A chunk that has come to its end shrinks to a few bytes: it is one run, as good as always. */
static void pack_at_chunk_end(roaring_bitmap_t *bitmap, uint32_t index) {
    if (index % CHUNK_PLACES == CHUNK_PLACES - 1)
        roaring_bitmap_run_optimize(bitmap);
}

bool order_set_done(struct order *order, uint32_t index) {
    order_set_leased(order, index, false);
    roaring_bitmap_remove(order->taken_places, index);
    if (!roaring_bitmap_add_checked(order->done_places, index))
        return false;
    order->done++;
    pack_at_chunk_end(order->done_places, index);
    if (roaring_bitmap_remove_checked(order->failed_places, index))
        order->failed--;
    order_recount(order);
    return true;
}

bool order_set_failed(struct order *order, uint32_t index) {
    order_set_leased(order, index, false);
    roaring_bitmap_remove(order->taken_places, index);
    if (roaring_bitmap_contains(order->done_places, index) || !roaring_bitmap_add_checked(order->failed_places, index))
        return false;
    order->failed++;
    order_recount(order);
    return true;
}

void order_set_leased(struct order *order, uint32_t index, bool leased) {
    bool changed = leased ? roaring_bitmap_add_checked(order->leased_places, index)
                          : roaring_bitmap_remove_checked(order->leased_places, index);
    if (!changed)
        return;
    order->running += leased ? 1 : UINT64_MAX;
    order_recount(order);
}

void order_set_error(struct order *order, const char *text) {
    if (strcmp(order->last_error, text) == 0)
        return;
    free(order->last_error);
    order->last_error = text_copy(text);
}

void order_untake(struct order *order) {
    roaring_bitmap_clear(order->taken_places);
    roaring_bitmap_clear(order->leased_places);
    order->running = 0;
    order->cursor = 0;
    order->life++;
    order_recount(order);
}

void order_untake_one(struct order *order, uint32_t index) {
    roaring_bitmap_remove(order->taken_places, index);
    if (index < order->cursor)
        order->cursor = index;
}

void order_ask_again(struct order *order) {
    roaring_bitmap_clear(order->failed_places);
    order->failed = 0;
    order->cursor = 0;
    order_set_error(order, "");
    order->state = order_is_finished(order) ? SWEEP_DONE : SWEEP_ACTIVE;
    order->finished_unix_ms = order->state == SWEEP_DONE ? order->finished_unix_ms : 0;
    order_recount(order);
}

enum job_state order_job_state(const struct order *order, uint64_t index) {
    uint32_t at = (uint32_t)index;
    if (roaring_bitmap_contains(order->done_places, at))
        return JOB_DONE;
    if (roaring_bitmap_contains(order->failed_places, at))
        return JOB_FAILED;
    if (roaring_bitmap_contains(order->leased_places, at))
        return JOB_RUNNING;
    if (order->sweep && sweep_excluded(order->sweep, index))
        return JOB_EXCLUDED;
    return order->state == SWEEP_CANCELLED ? JOB_CANCELLED : JOB_WAITING;
}

static uint64_t next_in(const roaring_bitmap_t *bitmap, uint64_t from, uint64_t places) {
    roaring_uint32_iterator_t *it = roaring_create_iterator(bitmap);
    uint64_t found = roaring_move_uint32_iterator_equalorlarger(it, (uint32_t)from) ? it->current_value : places;
    roaring_free_uint32_iterator(it);
    return found;
}

uint64_t order_find_state(const struct order *order, uint64_t from, enum job_state state, uint32_t *budget) {
    if (from >= order->places)
        return order->places;
    switch (state) {
    case JOB_DONE: return next_in(order->done_places, from, order->places);
    case JOB_FAILED: return next_in(order->failed_places, from, order->places);
    case JOB_RUNNING: return next_in(order->leased_places, from, order->places);
    default: break;
    }
    for (; from < order->places && *budget; from++, (*budget)--) {
        enum job_state here = order_job_state(order, from);
        if (state ? here == state : here != JOB_EXCLUDED)
            return from;
    }
    return from;
}

/* ---- chunks --------------------------------------------------------------------------------------------------------- */

/* Where the portable form of a bitmap of one container has its key, the upper 16 bits of its indexes (RoaringFormatSpec): behind
 * cookie and count, or behind the cookie that has the count in it and a byte of flags. */
static size_t only_key_at(const uint8_t *portable) {
    enum { COOKIE_WITH_RUNS = 12347 };
    return (portable[0] | portable[1] << 8) == COOKIE_WITH_RUNS ? 5 : 8;
}

/* The bitmap's indexes first..first+CHUNK_PLACES-1, counted from 0, and `also`. A chunk is one of roaring's own containers, so
 * that all of it is work on one container, and counting from 0 is a key of 0. */
static void write_chunk(struct bytes *out, const roaring_bitmap_t *bitmap, uint32_t chunk, const uint32_t *also, size_t count) {
    uint64_t first = (uint64_t)chunk * CHUNK_PLACES;
    roaring_bitmap_t *part = roaring_bitmap_from_range(first, first + CHUNK_PLACES, 1);
    roaring_bitmap_and_inplace(part, bitmap);
    roaring_bitmap_add_many(part, count, also);
    if (!roaring_bitmap_is_empty(part)) {
        roaring_bitmap_run_optimize(part);
        bytes_reserve(out, roaring_bitmap_portable_size_in_bytes(part));
        uint8_t *portable = out->data + out->size;
        out->size += roaring_bitmap_portable_serialize(part, (char *)portable);
        memset(portable + only_key_at(portable), 0, 2);
        out->data[out->size] = 0;
    }
    roaring_bitmap_free(part);
}

void order_chunk(struct bytes *done, struct bytes *failed, const struct order *order, uint32_t chunk,
                 const uint32_t *also_done, size_t done_count, const uint32_t *also_failed, size_t failed_count) {
    write_chunk(done, order->done_places, chunk, also_done, done_count);
    write_chunk(failed, order->failed_places, chunk, also_failed, failed_count);
}

static enum err read_chunk(roaring_bitmap_t *into, uint64_t *count, const struct order *order, uint32_t chunk,
                           const void *data, size_t size, struct error *error) {
    uint64_t first = (uint64_t)chunk * CHUNK_PLACES;
    if (!size)
        return ERR_OK;
    /* Asked for its size first: the deserializer prints what it does not like. */
    roaring_bitmap_t *part = roaring_bitmap_portable_deserialize_size(data, size) == size
                                 ? roaring_bitmap_portable_deserialize_safe(data, size) : NULL;
    if (!part)
        return error_set(error, ERR_CORRUPT, "ledger: sweep %" PRIu64 ", chunk %u: its %zu bytes are no bitmap", order->number,
                         chunk, size);
    enum err err = ERR_OK;
    if (!roaring_bitmap_is_empty(part) && first + roaring_bitmap_maximum(part) >= order->places)
        err = error_set(error, ERR_CORRUPT, "ledger: sweep %" PRIu64 ", chunk %u: want places below %" PRIu64 ", has %" PRIu64,
                        order->number, chunk, order->places, first + roaring_bitmap_maximum(part));
    roaring_uint32_iterator_t *it = roaring_create_iterator(part);
    for (; !err && it->has_value; roaring_advance_uint32_iterator(it))
        if (roaring_bitmap_add_checked(into, (uint32_t)(first + it->current_value)))
            (*count)++;
    roaring_free_uint32_iterator(it);
    roaring_bitmap_free(part);
    return err;
}

enum err order_load_chunk(struct order *order, uint32_t chunk, const void *done, size_t done_size, const void *failed,
                          size_t failed_size, struct error *error) {
    enum err err = read_chunk(order->done_places, &order->done, order, chunk, done, done_size, error);
    if (!err)
        err = read_chunk(order->failed_places, &order->failed, order, chunk, failed, failed_size, error);
    order_recount(order);
    pack_at_chunk_end(order->done_places, chunk * CHUNK_PLACES + CHUNK_PLACES - 1);
    return err;
}

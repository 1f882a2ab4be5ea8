/*
 * fill_ledger.c - completes jobs of a stopped coordinator's sweep in random order, through its own ledger and queue: groups
 * of results with their real keys, their bits, and the index's upkeep as the coordinator does it. The pictures themselves are
 * left out: it is the ledger's and the memory's figures that scale.py takes.
 *
 * usage: fill_ledger STORE COUNT     (of the store's first sweep)
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "coordinator/ledger.h"
#include "coordinator/queue.h"
#include "store/store.h"

struct filling {
    struct ledger *ledger;
    struct store *store;
    struct queue queue;
    struct order *order;
    uint32_t *places; /* [order->places], shuffled */
    uint64_t random;
};

static uint64_t draw(uint64_t *state, uint64_t below) { /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}

static enum err take_sweep(void *context, const struct ledger_sweep *row, struct error *error) {
    struct filling *filling = context;
    struct bytes json = BYTES_INIT;
    if (filling->order)
        return ERR_OK;
    struct sweep *sweep = memory_get(sizeof *sweep);
    enum err err = store_get(&json, filling->store, &row->id, LIMIT_SWEEP_BYTES, error);
    if (!err)
        err = sweep_parse(sweep, json.data, json.size, error);
    bytes_release(&json);
    if (err) {
        free(sweep);
        return err;
    }
    struct order order = { .number = row->number, .touched = row->touched, .id = row->id, .name = text_copy(row->name),
                           .user = text_copy(row->user), .state = row->state, .sweep = sweep, .places = row->places,
                           .jobs = row->jobs, .last_error = text_copy("") };
    filling->order = queue_add(&filling->queue, &order);
    return ERR_OK;
}

static void shuffle(struct filling *filling) {
    uint64_t places = filling->order->places;
    filling->places = memory_get_array(places, sizeof *filling->places);
    for (uint64_t i = 0; i < places; i++) {
        uint64_t j = draw(&filling->random, i + 1);
        filling->places[i] = filling->places[j];
        filling->places[j] = (uint32_t)i;
    }
}

static enum err fill_results(struct ledger_result *results, struct filling *filling, const uint32_t *places, size_t count,
                             struct error *error) {
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && !err; i++) {
        struct spec spec;
        if ((err = sweep_job(&spec, filling->order->sweep, places[i], error)))
            break;
        results[i] = (struct ledger_result){ .key = spec_key(&spec), .render_ms = 1 };
        for (size_t b = 0; b < DIGEST_SIZE; b++)
            results[i].picture.bytes[b] = results[i].pixels.bytes[b] = (uint8_t)draw(&filling->random, 256);
        spec_release(&spec);
        order_set_done(filling->order, places[i]);
    }
    return err;
}

/* The bits of every chunk that these places lie in. */
static size_t fill_bits(struct ledger_bits *bits, const struct filling *filling, const uint32_t *places, size_t count) {
    size_t chunks = (size_t)(filling->order->places / CHUNK_PLACES + 1), filled = 0;
    bool *touched = memory_get_array(chunks, sizeof *touched);
    for (size_t i = 0; i < count; i++)
        touched[places[i] / CHUNK_PLACES] = true;
    for (size_t c = 0; c < chunks; c++)
        if (touched[c]) {
            bits[filled] = (struct ledger_bits){ .sweep = filling->order->number, .chunk = (uint32_t)c, .done = BYTES_INIT,
                                                 .failed = BYTES_INIT };
            order_chunk(&bits[filled].done, &bits[filled].failed, filling->order, (uint32_t)c, NULL, 0, NULL, 0);
            filled++;
        }
    free(touched);
    return filled;
}

static enum err fill_group(struct filling *filling, struct ledger_result *results, struct ledger_bits *bits,
                           const uint32_t *places, size_t count, struct error *error) {
    bool more = true;
    enum err err = fill_results(results, filling, places, count, error);
    if (err)
        return err;
    size_t bits_count = fill_bits(bits, filling, places, count);
    struct ledger_change change = { .sweep = filling->order->number, .state = SWEEP_ACTIVE, .rendered = filling->order->done };
    struct ledger_commit commit = { .unix_ms = clock_unix_ms(), .results = results, .result_count = count, .bits = bits,
                                    .bits_count = bits_count, .changes = &change, .change_count = 1 };
    err = ledger_commit(filling->ledger, &commit, error);
    for (size_t i = 0; i < bits_count; i++) {
        bytes_release(&bits[i].done);
        bytes_release(&bits[i].failed);
    }
    while (!err && more)
        err = ledger_tidy(&more, filling->ledger, error);
    return err;
}

static enum err fill(struct filling *filling, uint64_t count, struct error *error) {
    struct ledger_result *results = memory_get_array(LEDGER_GROUP, sizeof *results);
    struct ledger_bits *bits = memory_get_array((size_t)(filling->order->places / CHUNK_PLACES + 1), sizeof *bits);
    enum err err = ERR_OK;
    if (count > filling->order->places)
        err = error_set(error, ERR_INVALID, "want at most the sweep's %" PRIu64 " places, have %" PRIu64, filling->order->places, count);
    for (uint64_t at = 0; at < count && !err; at += LEDGER_GROUP) {
        size_t group = count - at < LEDGER_GROUP ? (size_t)(count - at) : LEDGER_GROUP;
        err = fill_group(filling, results, bits, filling->places + at, group, error);
    }
    free(results);
    free(bits);
    return err;
}

int main(int argc, char **argv) {
    struct filling filling = { .random = 1 };
    struct error error;
    bool fresh;
    if (argc != 3) {
        fprintf(stderr, "usage: fill_ledger STORE COUNT\n");
        return 2;
    }
    uint64_t begin_ms = clock_monotonic_ms();
    char *path = path_join(argv[1], "ledger.sqlite");
    queue_init(&filling.queue);
    enum err err = store_open_reader(&filling.store, argv[1], &error);
    if (!err)
        err = ledger_open(&filling.ledger, &fresh, path, &error);
    if (!err)
        err = ledger_each_sweep(filling.ledger, take_sweep, &filling, &error);
    if (!err && !filling.order)
        err = error_set(&error, ERR_NOT_FOUND, "%s: it holds no sweep", path);
    if (!err) {
        shuffle(&filling);
        err = fill(&filling, strtoull(argv[2], NULL, 10), &error);
    }
    if (err)
        fprintf(stderr, "fill_ledger: %s\n", error.message);
    else
        printf("%" PRIu64 " results in %.1f s\n", filling.order->done, (double)(clock_monotonic_ms() - begin_ms) / 1000);
    ledger_close(filling.ledger);
    queue_release(&filling.queue);
    if (filling.store)
        store_close(filling.store);
    free(filling.places);
    free(path);
    return err_exit_status(err);
}

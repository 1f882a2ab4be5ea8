/* bloom.c - filters of doubling size; keys are SHA-256, so their own bytes are the hash functions. */
#include "coordinator/bloom.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { FILTERS_LIMIT = 40, BITS_A_KEY = 10, LOOKS = 7, KEYS_MINIMUM = 1 << 16 };

struct filter {
    uint64_t bits, keys, room;
    uint64_t *words;
};

struct bloom {
    struct filter filters[FILTERS_LIMIT];
    int count; /* the last one is being filled */
};

static void filter_init(struct filter *filter, uint64_t room) {
    filter->room = room;
    filter->keys = 0;
    filter->bits = room * BITS_A_KEY;
    filter->words = memory_get_array((size_t)(filter->bits / 64 + 1), sizeof *filter->words);
}

struct bloom *bloom_create(uint64_t keys) {
    struct bloom *bloom = memory_get(sizeof *bloom);
    filter_init(&bloom->filters[0], keys < KEYS_MINIMUM ? KEYS_MINIMUM : keys);
    bloom->count = 1;
    return bloom;
}

void bloom_destroy(struct bloom *bloom) {
    if (!bloom)
        return;
    for (int i = 0; i < bloom->count; i++)
        free(bloom->filters[i].words);
    free(bloom);
}

/* The i-th of a key's places: two independent words of it, combined (Kirsch and Mitzenmacher). */
static uint64_t look(const struct filter *filter, const struct digest *key, int i) {
    uint64_t a, b;
    memcpy(&a, key->bytes, sizeof a);
    memcpy(&b, key->bytes + sizeof a, sizeof b);
    return (a + (uint64_t)i * (b | 1)) % filter->bits;
}

static bool filter_has(const struct filter *filter, const struct digest *key) {
    for (int i = 0; i < LOOKS; i++) {
        uint64_t bit = look(filter, key, i);
        if (!(filter->words[bit / 64] >> (bit % 64) & 1))
            return false;
    }
    return true;
}

bool bloom_has(const struct bloom *bloom, const struct digest *key) {
    for (int i = bloom->count - 1; i >= 0; i--)
        if (filter_has(&bloom->filters[i], key))
            return true;
    return false;
}

void bloom_add(struct bloom *bloom, const struct digest *key) {
    if (bloom_has(bloom, key))
        return;
    struct filter *filter = &bloom->filters[bloom->count - 1];
    if (filter->keys == filter->room && bloom->count < FILTERS_LIMIT) {
        filter_init(filter + 1, 2 * filter->room);
        bloom->count++;
        filter++;
    }
    for (int i = 0; i < LOOKS; i++) {
        uint64_t bit = look(filter, key, i);
        filter->words[bit / 64] |= UINT64_C(1) << (bit % 64);
    }
    filter->keys++;
}

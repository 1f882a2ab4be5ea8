/*
 * bpe.h - byte-pair encoding of one word (Sennrich, Haddow & Birch 2016), over the byte alphabet of GPT-2.
 *
 * A word is its bytes; the last one carries "</w>". The pair of neighbours that was learned first is joined, again and
 * again, until no learned pair is left. Immutable once all merges are added.
 */
#ifndef PIPELINE_TEXT_BPE_H
#define PIPELINE_TEXT_BPE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bpe;

/* A growing run of token ids. */
struct ids {
    int32_t *items;
    size_t count, capacity;
};

#define IDS_INIT { NULL, 0, 0 }
void ids_add(struct ids *ids, int32_t id);
void ids_release(struct ids *ids);

/* `vocabulary` {"token": id}, ids already checked; it need not outlive this call. A byte that has no token is `unknown`. */
struct bpe *bpe_create(const json_t *vocabulary, size_t merges, int32_t unknown);
void bpe_destroy(struct bpe *bpe);

/* The next pair in order of rank (at most `merges` of them). Both tokens and their join must be in the vocabulary. */
MUST_USE enum err bpe_add_merge(struct bpe *bpe, const json_t *vocabulary, const char *left, size_t left_size,
                                const char *right, size_t right_size, struct error *error);

/* Append the tokens of a word of size > 0 bytes. Time grows as size log size. */
void bpe_encode(struct ids *out, const struct bpe *bpe, const uint8_t *word, size_t size);

#endif

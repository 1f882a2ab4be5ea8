/*
 * added.h - added tokens: texts that are a token each (words of embeddings: several) and are cut out before anything else is
 * looked at.
 *
 * A plain one is looked for in the text as it was written, a normalised one in the normalised text, as in the
 * tokenizers library; of several at one place the longest wins, of equal ones the one with the smaller id. Immutable
 * once added_finish was called.
 */
#ifndef PIPELINE_TEXT_ADDED_H
#define PIPELINE_TEXT_ADDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { ADDED_LIMIT = 10000 };

struct added_token {
    char *content; /* what the files call it */
    uint8_t *text; /* what is looked for: the content, normalised if need be */
    size_t size;
    int32_t id;     /* the first */
    uint32_t count; /* ids from there on that it stands for: 1, but for words of embeddings */
    bool normalized;
};

struct added {
    struct added_token *tokens;
    size_t count;
    size_t buckets[2][257]; /* by normalized and first byte: tokens[buckets[k][b]..buckets[k][b+1]) */
};

void added_release(struct added *added);
const struct added_token *added_find(const struct added *added, const char *content);
/* Add one, or change how one of that content is looked for. ERR_LIMIT beyond ADDED_LIMIT. content is not empty. */
MUST_USE enum err added_put(struct added *added, const char *content, int32_t id, bool normalized,
                               struct error *error);
void added_finish(struct added *added); /* sorts: after the last one is in, and before any is looked for */

/* The first token of that kind in text[from..size): its place, or NULL. The longest of those that begin there. */
const struct added_token *added_next(size_t *place, const struct added *added, bool normalized, const uint8_t *text,
                                     size_t from, size_t size);

#endif

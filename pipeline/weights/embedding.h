/*
 * embedding.h - textual-inversion embeddings (Gal 2022): the few vectors that a word of a prompt stands for, from safetensors.
 *
 * Forms: for a model of one text encoder one tensor [n,D] or [D], called emb_params (AUTOMATIC1111), by its word (diffusers:
 * "<frog>") or otherwise; for SDXL's two encoders clip_l and clip_g, as many rows of each.
 */
#ifndef PIPELINE_WEIGHTS_EMBEDDING_H
#define PIPELINE_WEIGHTS_EMBEDDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { EMBEDDING_VECTORS_LIMIT = 75 /* a prompt has room for so many tokens */, EMBEDDING_WIDTH_LIMIT = 8192 };

enum embedding_part { EMBEDDING_FIRST, EMBEDDING_SECOND, EMBEDDING_PARTS };

/* Immutable once read. */
struct embedding {
    bool paired;    /* clip_l and clip_g; else the first part alone */
    uint32_t count; /* n */
    uint32_t widths[EMBEDDING_PARTS];
    float *vectors[EMBEDDING_PARTS]; /* [n,D], owned */
};

/* ERR_UNSUPPORTED: no embedding, or not of F32, F16 or BF16. ERR_CORRUPT: shapes that are none of an embedding, a part missing,
 * numbers that are not finite. ERR_LIMIT: more vectors than a prompt has room for. The sentence names the file. */
MUST_USE enum err embedding_read(struct embedding *embedding, const char *path, struct error *error);
MUST_USE enum err embedding_read_memory(struct embedding *embedding, const void *data, size_t size, const char *name,
                                        struct error *error);
void embedding_release(struct embedding *embedding);

#endif

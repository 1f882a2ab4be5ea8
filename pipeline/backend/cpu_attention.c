/*
 * cpu_attention.c - softmax(q k^T) v by blocks of keys with a running maximum (Milakov & Gimelshein 2018; Dao et al.
 * 2022): the scores of a block live in the L1 cache and nowhere else.
 *
 * Everything is turned by 90 degrees: a tile holds PANEL queries as columns, so that keys and values are read where
 * they lie, one number spread over the lanes, and maximum, exponential and sum go down the rows, lane by lane.
 */
#include <math.h>

#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/cpu_math.h"
#include "pipeline/backend/cpu_product.h"

enum { KEYS = 8 * TILE_ROWS }; /* of a block */

struct attention_tile {
    float most[PANEL], total[PANEL], shrink[PANEL];
    float *q;    /* [depth padded][PANEL] */
    float *sums; /* [depth padded][PANEL]: out, not yet divided by total */
    uint32_t first, count; /* queries */
};

struct attention_scratch {
    float k[KEYS * A_ROW] __attribute__((aligned(64)));
    float scores[KEYS * PANEL] __attribute__((aligned(64)));
    struct attention_tile tiles[ATTENTION_TILES];
    float numbers[] __attribute__((aligned(64))); /* q and sums of the tiles */
};

/* Transposes work on whole vectors. */
static size_t depth_padded(uint32_t depth) {
    return (depth + LANES - 1) / LANES * (size_t)LANES;
}

size_t KERNEL(attention_scratch)(uint32_t depth);
size_t KERNEL(attention_scratch)(uint32_t depth) {
    return sizeof(struct attention_scratch) + 2 * ATTENTION_TILES * depth_padded(depth) * PANEL * sizeof(float);
}

static __attribute__((noinline)) void product_scores(uint32_t rows, bool narrow, float *c, const float *a,
                                                     const float *b, size_t count, enum product_end end) {
    if (narrow) {
        PRODUCT_SWITCH(rows, 1, c, PANEL, a, A_ROW, 1, b, count, NULL, end, b)
    } else {
        PRODUCT_SWITCH(rows, 2, c, PANEL, a, A_ROW, 1, b, count, NULL, end, b)
    }
}

static __attribute__((noinline)) void product_values(uint32_t rows, bool narrow, float *c, const float *a, size_t a_k,
                                                     const float *b, size_t count, const float *scale) {
    if (narrow) {
        PRODUCT_SWITCH(rows, 1, c, PANEL, a, 1, a_k, b, count, NULL, PRODUCT_SCALE, scale)
    } else {
        PRODUCT_SWITCH(rows, 2, c, PANEL, a, 1, a_k, b, count, NULL, PRODUCT_SCALE, scale)
    }
}

/* scores[key][query] of `count` keys; a deep head goes through the product part by part. */
static void scores_of(struct attention_scratch *s, const struct attention_tile *tile, const float *k, size_t k_row,
                      uint32_t count, uint32_t depth, bool k_is_there) {
    for (uint32_t first = 0; first < depth; first += BLOCK_K) {
        uint32_t part = depth - first < BLOCK_K ? depth - first : BLOCK_K;
        for (uint32_t t = 0; t < count && !k_is_there; t++) {
            floats_copy(s->k + (size_t)t * A_ROW, k + t * k_row + first, part);
        }
        for (uint32_t t = 0, take; t < count; t += take) {
            take = tile_rows(count - t);
            product_scores(take, tile->count <= LANES, s->scores + t * PANEL, s->k + (size_t)t * A_ROW,
                           tile->q + (size_t)first * PANEL, part, first == 0 ? PRODUCT_STORE : PRODUCT_ADD);
        }
    }
}

/* Keys after a query's own place weigh nothing. */
static void scores_mask(float *scores, uint32_t first_key, uint32_t count, uint32_t first_query) {
    for (uint32_t t = 0; t < count; t++) {
        for (uint32_t i = 0; i < PANEL; i++) {
            scores[t * PANEL + i] = first_key + t > first_query + i ? -INFINITY : scores[t * PANEL + i];
        }
    }
}

INLINE vec score_exp(float *place, vec most) {
    vec weight = vec_exp_unbounded(vec_load(place) - most);
    vec_store(place, weight);
    return weight;
}

/* Scores become weights e^(score - most); `shrink` is what earlier sums must be multiplied by. Even and odd keys are
 * summed apart, for speed. */
static void scores_exp(float *scores, struct attention_tile *tile, uint32_t count) {
    for (uint32_t i = 0; i < PANEL && i < tile->count; i += LANES) {
        vec before = vec_load(tile->most + i), most[2] = { before, before }, total[2] = { { 0 }, { 0 } };
        for (uint32_t t = 0; t < count; t++) {
            most[0] = vec_max(most[0], vec_load(scores + t * PANEL + i));
            if (++t < count) {
                most[1] = vec_max(most[1], vec_load(scores + t * PANEL + i));
            }
        }
        most[0] = vec_max(most[0], most[1]);
        for (uint32_t t = 0; t < count; t++) {
            total[0] += score_exp(scores + t * PANEL + i, most[0]);
            if (++t < count) {
                total[1] += score_exp(scores + t * PANEL + i, most[0]);
            }
        }
        vec shrink = vec_exp_unbounded(before - most[0]);
        vec_store(tile->most + i, most[0]);
        vec_store(tile->shrink + i, shrink);
        vec_store(tile->total + i, vec_fma(vec_load(tile->total + i), shrink, total[0] + total[1]));
    }
}

/* q [query][depth] -> [depth][PANEL], scaled. Columns without a query repeat the last one. */
static void tile_load(struct attention_tile *tile, const float *q, size_t q_row, uint32_t depth) {
    vec scale = vec_all((float)(1.0 / sqrt((double)depth)));
    for (uint32_t d = 0; d < depth; d += LANES) {
        for (uint32_t i = 0; i < PANEL; i += LANES) {
            vec block[LANES];
#pragma GCC unroll 16
            for (uint32_t r = 0; r < LANES; r++) {
                uint32_t row = i + r < tile->count ? i + r : tile->count - 1;
                block[r] = vec_load_upto(q + row * q_row + d, depth - d) * scale;
            }
            vec_transpose(block);
#pragma GCC unroll 16
            for (uint32_t r = 0; r < LANES; r++) {
                vec_store(tile->q + (size_t)(d + r) * PANEL + i, block[r]);
            }
        }
    }
    memset(tile->sums, 0, depth_padded(depth) * PANEL * sizeof *tile->sums);
    for (uint32_t i = 0; i < PANEL; i++) {
        tile->most[i] = -INFINITY;
        tile->total[i] = 0.0f;
    }
}

static void tile_store(const struct attention_tile *tile, float *out, size_t out_row, uint32_t depth) {
    for (uint32_t i = 0; i < PANEL && i < tile->count; i += LANES) {
        vec inverse = 1.0f / vec_load(tile->total + i);
        for (uint32_t d = 0; d < depth; d += LANES) {
            vec block[LANES];
#pragma GCC unroll 16
            for (uint32_t r = 0; r < LANES; r++) {
                block[r] = vec_load(tile->sums + (size_t)(d + r) * PANEL + i) * inverse;
            }
            vec_transpose(block);
#pragma GCC unroll 16
            for (uint32_t r = 0; r < LANES; r++) {
                if (i + r < tile->count) {
                    vec_store_upto(out + (i + r) * out_row + d, block[r], depth - d);
                }
            }
        }
    }
}

/* One block of keys meets one tile of queries. */
static void tile_attend(struct attention_scratch *s, struct attention_tile *tile, const struct attention *a,
                        const float *k, const float *v, uint32_t first, uint32_t count, bool k_is_there) {
    scores_of(s, tile, k + first * a->k_row, a->k_row, count, a->depth, k_is_there);
    if (a->causal) {
        scores_mask(s->scores, first, count, tile->first);
    }
    scores_exp(s->scores, tile, count);
    for (uint32_t d = 0, take; d < a->depth; d += take) {
        take = tile_rows(a->depth - d);
        product_values(take, tile->count <= LANES, tile->sums + (size_t)d * PANEL, v + first * a->v_row + d, a->v_row,
                       s->scores, count, tile->shrink);
    }
}

/* Up to ATTENTION_TILES tiles of queries of one head of one image, from first_query on. */
void KERNEL(attention)(const struct attention *a, uint32_t image, uint32_t head, uint32_t first_query, void *memory);
void KERNEL(attention)(const struct attention *a, uint32_t image, uint32_t head, uint32_t first_query, void *memory) {
    struct attention_scratch *s = memory;
    size_t source = a->kv_index == NULL ? image : (size_t)a->kv_index[image], channel = (size_t)head * a->depth;
    const float *k = a->k + source * a->keys * a->k_row + channel, *v = a->v + source * a->keys * a->v_row + channel;
    size_t place = (size_t)image * a->queries;
    uint32_t tiles = 0;
    for (uint32_t q = first_query; q < a->queries && tiles < ATTENTION_TILES; q += PANEL) {
        struct attention_tile *tile = &s->tiles[tiles];
        tile->q = s->numbers + 2 * tiles++ * depth_padded(a->depth) * PANEL;
        tile->sums = tile->q + depth_padded(a->depth) * PANEL;
        tile->first = q;
        tile->count = a->queries - q < PANEL ? a->queries - q : PANEL;
        tile_load(tile, a->q + (place + q) * a->q_row + channel, a->q_row, a->depth);
    }
    for (uint32_t first = 0; first < a->keys; first += KEYS) {
        uint32_t count = a->keys - first < KEYS ? a->keys - first : KEYS;
        bool k_is_there = false;
        for (uint32_t i = 0; i < tiles; i++) {
            if (a->causal && first >= s->tiles[i].first + PANEL) {
                continue; /* all of the block is in the future */
            }
            tile_attend(s, &s->tiles[i], a, k, v, first, count, k_is_there);
            k_is_there = a->depth <= BLOCK_K; /* else only its last part is */
        }
    }
    for (uint32_t i = 0; i < tiles; i++) {
        tile_store(&s->tiles[i], a->out + (place + s->tiles[i].first) * a->out_row + channel, a->out_row, a->depth);
    }
}

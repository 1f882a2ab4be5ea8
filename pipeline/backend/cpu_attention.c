/*
 * cpu_attention.c - softmax(q k^T) v by blocks of keys with a running maximum (Milakov & Gimelshein 2018; Dao et al.
 * 2022): the scores of a block live in the L1 cache and nowhere else.
 *
 * Everything is turned by 90 degrees: a task holds PANEL queries as columns, so that keys and values are read where
 * they lie, one number spread over the lanes, and maximum, exponential and sum go down the rows, lane by lane.
 */
#include <math.h>

#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/cpu_math.h"
#include "pipeline/backend/cpu_product.h"

enum { KEYS = 8 * TILE_ROWS }; /* of a block */

/* Behind it in the scratch: q [depth][PANEL], then out [depth][PANEL]. */
struct attention_scratch {
    float k[KEYS * A_ROW] __attribute__((aligned(64)));
    float scores[KEYS * PANEL] __attribute__((aligned(64)));
    float most[PANEL], total[PANEL], shrink[PANEL];
    float q[];
};

size_t KERNEL(attention_scratch)(uint32_t depth);
size_t KERNEL(attention_scratch)(uint32_t depth) {
    return sizeof(struct attention_scratch) + (size_t)2 * depth * PANEL * sizeof(float);
}

static __attribute__((noinline)) void product_scores(uint32_t rows, float *c, const float *a, const float *b,
                                                     size_t count, enum product_end end) {
    PRODUCT_SWITCH(rows, c, PANEL, a, A_ROW, 1, b, count, end, NULL)
}

static __attribute__((noinline)) void product_values(uint32_t rows, float *c, const float *a, size_t a_k,
                                                     const float *b, size_t count, const float *scale) {
    PRODUCT_SWITCH(rows, c, PANEL, a, 1, a_k, b, count, PRODUCT_SCALE, scale)
}

/* scores[key][query] of `count` keys. */
static void scores_of(struct attention_scratch *s, const float *k, size_t k_row, uint32_t count, uint32_t depth) {
    for (uint32_t first = 0; first < depth; first += BLOCK_K) {
        uint32_t part = depth - first < BLOCK_K ? depth - first : BLOCK_K;
        for (uint32_t t = 0; t < count; t++) {
            floats_copy(s->k + (size_t)t * A_ROW, k + t * k_row + first, part);
        }
        for (uint32_t t = 0, take; t < count; t += take) {
            take = tile_rows(count - t);
            product_scores(take, s->scores + t * PANEL, s->k + (size_t)t * A_ROW, s->q + (size_t)first * PANEL, part,
                           first == 0 ? PRODUCT_STORE : PRODUCT_ADD);
        }
    }
}

/* Keys after a query's own place weigh nothing. */
static void scores_mask(struct attention_scratch *s, uint32_t first_key, uint32_t count, uint32_t first_query) {
    for (uint32_t t = 0; t < count; t++) {
        for (uint32_t i = 0; i < PANEL; i++) {
            s->scores[t * PANEL + i] = first_key + t > first_query + i ? -INFINITY : s->scores[t * PANEL + i];
        }
    }
}

/* Scores become weights e^(score - most); `shrink` is what earlier sums must be multiplied by. */
static void scores_exp(struct attention_scratch *s, uint32_t count) {
    for (uint32_t i = 0; i < PANEL; i += LANES) {
        vec before = vec_load(s->most + i), most = before;
        for (uint32_t t = 0; t < count; t++) {
            most = vec_max(most, vec_load(s->scores + t * PANEL + i));
        }
        vec total = { 0 };
        for (uint32_t t = 0; t < count; t++) {
            vec weight = vec_exp(vec_load(s->scores + t * PANEL + i) - most);
            vec_store(s->scores + t * PANEL + i, weight);
            total += weight;
        }
        vec shrink = vec_exp(before - most);
        vec_store(s->most + i, most);
        vec_store(s->shrink + i, shrink);
        vec_store(s->total + i, vec_fma(vec_load(s->total + i), shrink, total));
    }
}

static void queries_load(struct attention_scratch *s, const struct attention *a, const float *q, uint32_t count) {
    float scale = (float)(1.0 / sqrt((double)a->depth));
    memset(s->q, 0, (size_t)a->depth * PANEL * sizeof *s->q);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t d = 0; d < a->depth; d++) {
            s->q[(size_t)d * PANEL + i] = q[i * a->q_row + d] * scale;
        }
    }
}

static void out_store(const struct attention *a, const struct attention_scratch *s, const float *sums, float *out,
                      uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t d = 0; d < a->depth; d++) {
            out[i * a->out_row + d] = sums[(size_t)d * PANEL + i] / s->total[i];
        }
    }
}

/* PANEL queries of one head of one image, from first_query on. */
void KERNEL(attention)(const struct attention *a, uint32_t image, uint32_t head, uint32_t first_query, void *memory);
void KERNEL(attention)(const struct attention *a, uint32_t image, uint32_t head, uint32_t first_query, void *memory) {
    struct attention_scratch *s = memory;
    float *sums = s->q + (size_t)a->depth * PANEL;
    size_t source = a->kv_index == NULL ? image : (size_t)a->kv_index[image];
    const float *k = a->k + source * a->keys * a->k_row + (size_t)head * a->depth;
    const float *v = a->v + source * a->keys * a->v_row + (size_t)head * a->depth;
    uint32_t queries = a->queries - first_query < PANEL ? a->queries - first_query : PANEL;
    size_t place = (size_t)image * a->queries + first_query;
    queries_load(s, a, a->q + place * a->q_row + (size_t)head * a->depth, queries);
    memset(sums, 0, (size_t)a->depth * PANEL * sizeof *sums);
    for (uint32_t i = 0; i < PANEL; i++) {
        s->most[i] = -INFINITY;
        s->total[i] = 0.0f;
    }
    for (uint32_t first = 0; first < a->keys; first += KEYS) {
        uint32_t count = a->keys - first < KEYS ? a->keys - first : KEYS;
        if (a->causal && first >= first_query + PANEL) {
            break;
        }
        scores_of(s, k + first * a->k_row, a->k_row, count, a->depth);
        if (a->causal) {
            scores_mask(s, first, count, first_query);
        }
        scores_exp(s, count);
        for (uint32_t d = 0, take; d < a->depth; d += take) {
            take = tile_rows(a->depth - d);
            product_values(take, sums + (size_t)d * PANEL, v + first * a->v_row + d, a->v_row, s->scores, count,
                           s->shrink);
        }
    }
    out_store(a, s, sums, a->out + place * a->out_row + (size_t)head * a->depth, queries);
}

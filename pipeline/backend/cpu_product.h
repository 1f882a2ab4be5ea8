/*
 * cpu_product.h - the innermost loop of everything: C[rows,PANEL] = A[rows,K] B[K,PANEL], rows <= TILE_ROWS; or only
 * the first LANES columns of it, where the others are padding.
 *
 * Each element is one chain of multiply-adds over k, from zero, whatever rows and columns are beside it.
 */
#ifndef PIPELINE_BACKEND_CPU_PRODUCT_H
#define PIPELINE_BACKEND_CPU_PRODUCT_H

#include "pipeline/backend/cpu_vector.h"

/* K of one block, and the step between rows of gathered A: not a multiple of 4096 bytes, so that the rows of a tile
 * spread over the sets of the L1 cache. */
enum { BLOCK_K = 256, A_ROW = BLOCK_K + LANES };

enum { LINE = 64 }; /* bytes of a cache line */

enum product_end {
    PRODUCT_STORE, /* C = sum */
    PRODUCT_ADD,   /* C = C + sum */
    PRODUCT_SCALE  /* C = C * scale[PANEL] + sum; the others do not read scale */
};

/* A[r,k] = a[r * a_row + k * a_k]; B[k] = b + k * PANEL. A cache line of `ahead` (or NULL) is asked for at each k: what
 * the next calls will read, on its way from memory while this one computes. */
INLINE void product(const int rows, const int vectors, float *c, size_t c_row, const float *a, size_t a_row, size_t a_k,
                    const float *b, size_t count, const char *ahead, enum product_end end, const float *scale) {
    vec sum[TILE_ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
        sum[r][0] = sum[r][1] = (vec){ 0 };
    }
#pragma GCC unroll 4
    for (size_t k = 0; k < count; k++) {
        if (ahead != NULL) {
            __builtin_prefetch(ahead + k * LINE, 0, 2);
        }
        vec b0 = vec_load(b + k * PANEL), b1 = vectors == 2 ? vec_load(b + k * PANEL + LANES) : b0;
#pragma GCC unroll 16
        for (int r = 0; r < rows; r++) {
            vec x = vec_all(a[r * a_row + k * a_k]);
            sum[r][0] = vec_fma(x, b0, sum[r][0]);
            if (vectors == 2) {
                sum[r][1] = vec_fma(x, b1, sum[r][1]);
            }
        }
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 2
        for (int i = 0; i < vectors; i++) {
            float *place = c + r * c_row + i * LANES;
            vec value = sum[r][i];
            if (end == PRODUCT_ADD) {
                value = vec_load(place) + value;
            } else if (end == PRODUCT_SCALE) {
                value = vec_fma(vec_load(place), vec_load(scale + i * LANES), value);
            }
            vec_store(place, value);
        }
    }
}

/* The loops above want `rows` as a constant: one copy for each count. */
#define PRODUCT_CASE(n, ...)                                          \
    case n:                                                           \
        product((n) <= TILE_ROWS ? (n) : TILE_ROWS, __VA_ARGS__);     \
        break
/* ... is what follows `rows` in product(), the constant `vectors` first. */
#define PRODUCT_SWITCH(rows, ...)                                     \
    switch (rows) {                                                   \
        PRODUCT_CASE(1, __VA_ARGS__);                                 \
        PRODUCT_CASE(2, __VA_ARGS__);                                 \
        PRODUCT_CASE(3, __VA_ARGS__);                                 \
        PRODUCT_CASE(4, __VA_ARGS__);                                 \
        PRODUCT_CASE(5, __VA_ARGS__);                                 \
        PRODUCT_CASE(6, __VA_ARGS__);                                 \
        PRODUCT_CASE(7, __VA_ARGS__);                                 \
        PRODUCT_CASE(8, __VA_ARGS__);                                 \
        PRODUCT_CASE(9, __VA_ARGS__);                                 \
        PRODUCT_CASE(10, __VA_ARGS__);                                \
        PRODUCT_CASE(11, __VA_ARGS__);                                \
        PRODUCT_CASE(12, __VA_ARGS__);                                \
    }

/* How many of `left` rows the next tile takes: tiles of one run differ by at most one row. */
INLINE uint32_t tile_rows(uint32_t left) {
    uint32_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
    return (left + tiles - 1) / tiles;
}

#endif

/*
 * cpu_vector.h - the vectors of one instruction-set class. The kernel files are compiled once a class; KERNEL(name)
 * gives each its own symbol.
 *
 * Multiply-add is written where it is meant (vec_fma) and contraction is off, so every compiler makes the same sums.
 */
#ifndef PIPELINE_BACKEND_CPU_VECTOR_H
#define PIPELINE_BACKEND_CPU_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define KERNEL(name) name##_v4
enum { LANES = 16, TILE_ROWS = 12 };
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define KERNEL(name) name##_v3
enum { LANES = 8, TILE_ROWS = 6 };
#else
#define KERNEL(name) name##_generic
enum { LANES = 4, TILE_ROWS = 4 };
#endif

enum { PANEL = 2 * LANES }; /* columns of a weight panel, queries of an attention tile */

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t vec_int __attribute__((vector_size(4 * LANES)));
typedef double vec_double __attribute__((vector_size(4 * LANES))); /* LANES / 2 of them */
typedef float vec_half __attribute__((vector_size(2 * LANES)));
typedef float vec_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef float vec_half_unaligned __attribute__((vector_size(2 * LANES), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline, unused))

INLINE vec vec_load(const float *from) {
    return *(const vec_unaligned *)from;
}
INLINE void vec_store(float *to, vec x) {
    *(vec_unaligned *)to = x;
}
INLINE vec vec_all(float x) {
    return x - (vec){ 0 };
}
INLINE vec_int vec_bits(vec x) {
    return (vec_int)x;
}
INLINE vec vec_select(vec_int mask, vec a, vec b) {
    return (vec)((mask & vec_bits(a)) | (~mask & vec_bits(b)));
}

/* a b + c; max and min give the second where either is NaN. */
#if defined(__AVX512F__)
INLINE vec vec_fma(vec a, vec b, vec c) {
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vec vec_max(vec a, vec b) {
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
}
INLINE vec vec_min(vec a, vec b) {
    return (vec)_mm512_min_ps((__m512)a, (__m512)b);
}
/* value, but 0 in the lanes where x < limit (not where x is NaN). */
INLINE vec vec_zero_below(vec value, vec x, vec limit) {
    return (vec)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)limit, _CMP_NLT_UQ), (__m512)value);
}
INLINE vec vec_load_part(const float *from, size_t count) {
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), from);
}
INLINE void vec_store_part(float *to, vec x, size_t count) {
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)x);
}
#else
#if defined(__AVX2__) && defined(__FMA__)
INLINE vec vec_fma(vec a, vec b, vec c) {
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vec vec_max(vec a, vec b) {
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
}
INLINE vec vec_min(vec a, vec b) {
    return (vec)_mm256_min_ps((__m256)a, (__m256)b);
}
#else
INLINE vec vec_fma(vec a, vec b, vec c) {
    return a * b + c;
}
INLINE vec vec_max(vec a, vec b) {
    return vec_select(a > b, a, b);
}
INLINE vec vec_min(vec a, vec b) {
    return vec_select(a < b, a, b);
}
#endif
INLINE vec vec_zero_below(vec value, vec x, vec limit) {
    return (vec)(~(x < limit) & vec_bits(value));
}
INLINE vec vec_load_part(const float *from, size_t count) {
    float padded[LANES] = { 0 };
    memcpy(padded, from, count * sizeof *padded);
    return vec_load(padded);
}
INLINE void vec_store_part(float *to, vec x, size_t count) {
    float padded[LANES];
    vec_store(padded, x);
    memcpy(to, padded, count * sizeof *padded);
}
#endif

/* LANES numbers of binary16 or bfloat16 as f32, exactly. */
typedef uint16_t vec_short __attribute__((vector_size(2 * LANES)));
INLINE vec_short vec_load_short(const uint16_t *from) {
    vec_short x;
    memcpy(&x, from, sizeof x);
    return x;
}
INLINE vec vec_widen_bfloat(const uint16_t *from) {
    return (vec)(__builtin_convertvector(vec_load_short(from), vec_int) << 16);
}
INLINE vec vec_widen_half(const uint16_t *from) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps((__m256i)vec_load_short(from));
#elif defined(__F16C__)
    return (vec)_mm256_cvtph_ps((__m128i)vec_load_short(from));
#else
    vec_int x = __builtin_convertvector(vec_load_short(from), vec_int), size = x & 0x7fff;
    vec_int bits = vec_bits((vec)(size << 13) * 0x1p112f); /* exact for subnormals, too */
    bits |= (size >= 0x7c00) & 0x7f800000;                 /* infinities and NaN */
    return (vec)(bits | (x & 0x8000) << 16);
#endif
}

/* Lanes beyond count: read as 0, not written. */
INLINE vec vec_load_upto(const float *from, size_t count) {
    return count >= LANES ? vec_load(from) : vec_load_part(from, count);
}
INLINE void vec_store_upto(float *to, vec x, size_t count) {
    if (count >= LANES) {
        vec_store(to, x);
    } else {
        vec_store_part(to, x, count);
    }
}

/* Lanes of (a, b): for blocks of `step` lanes, the even blocks of both, or the odd ones. */
#define SHUFFLE_EVEN(j, step) ((j) & (step) ? LANES + (j) - (step) : (j))
#define SHUFFLE_ODD(j, step) ((j) & (step) ? LANES + (j) : (j) + (step))
#define SHUFFLE_4(which, j, step) which(j, step), which(j + 1, step), which(j + 2, step), which(j + 3, step)
#if defined(__AVX512F__)
#define SHUFFLE(a, b, which, step)                                                                                     \
    __builtin_shufflevector(a, b, SHUFFLE_4(which, 0, step), SHUFFLE_4(which, 4, step), SHUFFLE_4(which, 8, step),     \
                            SHUFFLE_4(which, 12, step))
#elif defined(__AVX2__) && defined(__FMA__)
#define SHUFFLE(a, b, which, step)                                                                                     \
    __builtin_shufflevector(a, b, SHUFFLE_4(which, 0, step), SHUFFLE_4(which, 4, step))
#else
#define SHUFFLE(a, b, which, step) __builtin_shufflevector(a, b, SHUFFLE_4(which, 0, step))
#endif
#define TRANSPOSE_STEP(x, step)                                                                                        \
    _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) {                                                         \
        if ((i & (step)) == 0) {                                                                                       \
            vec a = x[i], b = x[(i + (step)) % LANES];                                                                 \
            x[i] = SHUFFLE(a, b, SHUFFLE_EVEN, step);                                                                  \
            x[(i + (step)) % LANES] = SHUFFLE(a, b, SHUFFLE_ODD, step);                                                \
        }                                                                                                              \
    }

/* Lane j of vector i changes places with lane i of vector j. */
INLINE void vec_transpose(vec x[LANES]) {
    TRANSPOSE_STEP(x, 1)
    TRANSPOSE_STEP(x, 2)
#if defined(__AVX2__)
    TRANSPOSE_STEP(x, 4)
#endif
#if defined(__AVX512F__)
    TRANSPOSE_STEP(x, 8)
#endif
}

INLINE void floats_copy(float *to, const float *from, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        vec_store(to + i, vec_load(from + i));
    }
    if (i < count) {
        vec_store_part(to + i, vec_load_part(from + i, count - i), count - i);
    }
}

INLINE void floats_zero(float *to, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        vec_store(to + i, (vec){ 0 });
    }
    if (i < count) {
        vec_store_part(to + i, (vec){ 0 }, count - i);
    }
}

#endif

/*
 * normals.h - Box & Muller's transform (1958) and Philox 4x32-10 (Salmon 2011): the arithmetic of noise, one text for the host (C)
 * and the card (CUDA C++).
 *
 * Logarithm, sine and cosine are polynomials of our own in double, so that the bits depend on no C library and on no
 * device: every operation is a correctly rounded IEEE one, and who includes this is compiled without contraction (CMakeLists.txt),
 * so that SSE2, AVX2 and AVX-512 code and a card give the same results. They are good to about 1e-13, far below the f32
 * rounding of the result.
 */
#ifndef PIPELINE_BACKEND_NORMALS_H
#define PIPELINE_BACKEND_NORMALS_H

#include <stdint.h>
#include <string.h>

#include "pipeline/backend/backend.h"

#ifdef __cplusplus
#define HOST_AND_CARD __host__ __device__
#else
#include <math.h>
#define HOST_AND_CARD
#endif

HOST_AND_CARD static inline uint64_t normals_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

HOST_AND_CARD static inline double normals_double(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* sqrt(-2 ln u) for normal u in (0,1]. u = 2^e f with f in [sqrt(1/2), sqrt(2)); ln f = 2 atanh((f-1)/(f+1)). */
HOST_AND_CARD static inline double normals_radius(double u) {
    /* Adding the distance from sqrt(1/2) to 1 moves the carry into the exponent at sqrt(2) instead of 2. */
    uint64_t moved = normals_bits(u) + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull);
    /* the biased exponent as a double, without an integer conversion, which SSE2 lacks for 64 bits */
    double e = normals_double((moved >> 52) | 0x4330000000000000ull) - (0x1p52 + 1023.0);
    double f = normals_double((moved & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
    double s = (f - 1.0) / (f + 1.0);
    double z = s * s; /* at most 0.0295 */
    double sum = 1.0 / 19;
    sum = sum * z + 1.0 / 17;
    sum = sum * z + 1.0 / 15;
    sum = sum * z + 1.0 / 13;
    sum = sum * z + 1.0 / 11;
    sum = sum * z + 1.0 / 9;
    sum = sum * z + 1.0 / 7;
    sum = sum * z + 1.0 / 5;
    sum = sum * z + 1.0 / 3;
    double ln = e * 0.69314718055994530942 + (2.0 * s + 2.0 * s * (z * sum));
    double square = -2.0 * ln;
    return sqrt(square > 0 ? square : 0.0); /* u = 1 gives -0 */
}

/* radius * (cos, sin) of an angle in [0, 2 pi]: quarter turns off, then Taylor on [-pi/4, pi/4]. */
HOST_AND_CARD static inline void normals_polar(double *x, double *y, double radius, double angle) {
    const double half_pi = 1.57079632679489661923;
    double shifted = angle * (1.0 / half_pi) + 0x1.8p52; /* rounds to an integer, in the low bits */
    uint64_t quarter = normals_bits(shifted);
    double r = angle - (shifted - 0x1.8p52) * half_pi;
    double z = r * r; /* at most 0.617 */
    double sine = 1.0 / 6227020800;
    sine = sine * z - 1.0 / 39916800;
    sine = sine * z + 1.0 / 362880;
    sine = sine * z - 1.0 / 5040;
    sine = sine * z + 1.0 / 120;
    sine = sine * z - 1.0 / 6;
    sine = r + r * (z * sine);
    double cosine = -1.0 / 87178291200;
    cosine = cosine * z + 1.0 / 479001600;
    cosine = cosine * z - 1.0 / 3628800;
    cosine = cosine * z + 1.0 / 40320;
    cosine = cosine * z - 1.0 / 720;
    cosine = cosine * z + 1.0 / 24;
    cosine = cosine * z - 0.5;
    cosine = 1.0 + z * cosine;
    /* odd quarters swap the two; the sign bits follow the quarter */
    uint64_t swap = 0 - (quarter & 1);
    uint64_t c = (normals_bits(cosine) & ~swap) | (normals_bits(sine) & swap);
    uint64_t s = (normals_bits(sine) & ~swap) | (normals_bits(cosine) & swap);
    *x = radius * normals_double(c ^ (((quarter + 1) & 2) << 62));
    *y = radius * normals_double(s ^ ((quarter & 2) << 62));
}

/* Ten rounds on the counter (offset, 0, place, 0): the first two words. */
HOST_AND_CARD static inline void philox_words(uint32_t words[2], uint64_t seed, uint32_t offset, uint32_t place) {
    uint32_t counter[4] = { offset, 0, place, 0 }, key[2] = { (uint32_t)seed, (uint32_t)(seed >> 32) };
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)counter[0] * 0xd2511f53u, b = (uint64_t)counter[2] * 0xcd9e8d57u;
        counter[0] = (uint32_t)(b >> 32) ^ counter[1] ^ key[0];
        counter[1] = (uint32_t)b;
        counter[2] = (uint32_t)(a >> 32) ^ counter[3] ^ key[1];
        counter[3] = (uint32_t)a;
        key[0] += 0x9e3779b9u;
        key[1] += 0xbb67ae85u;
    }
    words[0] = counter[0];
    words[1] = counter[1];
}

/* The normal at `place` of draw `offset`. Uniforms are f32, like cuRAND's; the sine of each pair alone is used. */
HOST_AND_CARD static inline float philox_normal(uint64_t seed, uint32_t offset, uint32_t place) {
    uint32_t words[2];
    double x, y;
    philox_words(words, seed, offset, place);
    float u = (float)words[0] * 0x1p-32f + 0x1p-33f;
    float angle = (float)words[1] * 1.46291807926715968e-9f + 7.3145903963357984e-10f;
    normals_polar(&x, &y, normals_radius((double)u), (double)angle);
    return (float)y;
}

/* Element `item` of an op_noise's row [area,channels]: drawn channels first, as torch draws latents. */
HOST_AND_CARD static inline float noise_row_value(const struct noise_row *row, size_t item, size_t area, uint32_t channels) {
    uint32_t place = (uint32_t)(item % channels * area + item / channels);
    return (float)(row->scale * (double)philox_normal(row->seed, row->offset, place));
}

#endif

/*
 * noise.c - MT19937 (Matsumoto & Nishimura 1998) and Box & Muller (1958), in torch's order.
 *
 * Logarithm, sine and cosine are polynomials of our own in double, so that the bits depend on no C library: every
 * operation is a correctly rounded IEEE one, and the file is compiled without contraction (CMakeLists.txt), so that
 * SSE2, AVX2 and AVX-512 code give the same results. They are good to about 1e-13, far below the f32 rounding of the
 * result. Torch's AVX2 form rounds the angle to f32 before the sine, and so do we.
 */
#include "pipeline/denoise/noise.h"

#include <assert.h>
#include <string.h>

enum { MT_SIZE = 624, MT_SHIFT = 397, BLOCK = 16, HALF = 8 };

static const double HALF_PI = 1.57079632679489661923;

void noise_init(struct noise *noise, uint64_t seed) {
    memset(noise, 0, sizeof *noise);
    noise->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < MT_SIZE; i++) {
        uint32_t last = noise->state[i - 1];
        noise->state[i] = 1812433253u * (last ^ (last >> 30)) + i;
    }
    noise->place = MT_SIZE;
}

static uint32_t mt_twist(uint32_t high, uint32_t low) {
    uint32_t mixed = (high & 0x80000000u) | (low & 0x7fffffffu);
    return (mixed >> 1) ^ (-(low & 1u) & 0x9908b0dfu);
}

/* The next 624 words. Two loops instead of one with a modulus: each reads only what lies at least 227 ahead. */
static void mt_refill(uint32_t state[MT_SIZE]) {
    int i;
    for (i = 0; i < MT_SIZE - MT_SHIFT; i++)
        state[i] = state[i + MT_SHIFT] ^ mt_twist(state[i], state[i + 1]);
    for (; i < MT_SIZE - 1; i++)
        state[i] = state[i + MT_SHIFT - MT_SIZE] ^ mt_twist(state[i], state[i + 1]);
    state[i] = state[MT_SHIFT - 1] ^ mt_twist(state[i], state[0]);
}

static uint32_t mt_temper(uint32_t word) {
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c5680u;
    word ^= (word << 15) & 0xefc60000u;
    return word ^ (word >> 18);
}

static uint32_t mt_next(struct noise *noise) {
    if (noise->place == MT_SIZE) {
        mt_refill(noise->state);
        noise->place = 0;
    }
    return mt_temper(noise->state[noise->place++]);
}

/* at::uniform_real_distribution<float>: 24 bits of each word, in [0,1). */
static void uniform_fill(float *out, size_t count, struct noise *noise) {
    while (count > 0) {
        if (noise->place == MT_SIZE) {
            mt_refill(noise->state);
            noise->place = 0;
        }
        size_t run = MT_SIZE - noise->place;
        if (run > count)
            run = count;
        const uint32_t *words = noise->state + noise->place;
        for (size_t i = 0; i < run; i++)
            out[i] = (float)(int32_t)(mt_temper(words[i]) & 0xffffffu) * 0x1p-24f;
        noise->place += (uint32_t)run;
        out += run;
        count -= run;
    }
}

/* at::uniform_real_distribution<double>: 53 bits of two words, the first one high. */
static double uniform_double(struct noise *noise) {
    uint64_t high = mt_next(noise);
    uint64_t word = high << 32 | mt_next(noise);
    return (double)(word & ((1ull << 53) - 1)) * 0x1p-53;
}

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* sqrt(-2 ln u) for normal u in (0,1]. u = 2^e f with f in [sqrt(1/2), sqrt(2)); ln f = 2 atanh((f-1)/(f+1)). */
static inline double radius_of(double u) {
    /* Adding the distance from sqrt(1/2) to 1 moves the carry into the exponent at sqrt(2) instead of 2. */
    uint64_t moved = bits_of(u) + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull);
    /* the biased exponent as a double, without an integer conversion, which SSE2 lacks for 64 bits */
    double e = double_of((moved >> 52) | 0x4330000000000000ull) - (0x1p52 + 1023.0);
    double f = double_of((moved & 0x000fffffffffffffull) + 0x3fe6a09e667f3bcdull);
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
    return __builtin_sqrt(square > 0 ? square : 0.0); /* u = 1 gives -0 */
}

/* radius * (cos, sin) of an angle in [0, 2 pi]: quarter turns off, then Taylor on [-pi/4, pi/4]. */
static inline void polar(double *x, double *y, double radius, double angle) {
    double shifted = angle * (1.0 / HALF_PI) + 0x1.8p52; /* rounds to an integer, in the low bits */
    uint64_t quarter = bits_of(shifted);
    double r = angle - (shifted - 0x1.8p52) * HALF_PI;
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
    uint64_t swap = -(quarter & 1);
    uint64_t c = (bits_of(cosine) & ~swap) | (bits_of(sine) & swap);
    uint64_t s = (bits_of(sine) & ~swap) | (bits_of(cosine) & swap);
    *x = radius * double_of(c ^ ((quarter + 1) & 2) << 62);
    *y = radius * double_of(s ^ (quarter & 2) << 62);
}

/* 16 uniforms -> 16 normals, in place: u[j] gives the radius, u[j+8] the angle. */
static void normal_block(float block[BLOCK]) {
    for (int j = 0; j < HALF; j++) {
        float u = 1.0f - block[j]; /* exact */
        float angle = 6.28318530717958647692f * block[j + HALF];
        double x, y;
        polar(&x, &y, radius_of(u), angle);
        block[j] = (float)x;
        block[j + HALF] = (float)y;
    }
}

/* at::normal_distribution<double>: pairs, the second of which waits for the next call. */
static double normal_single(struct noise *noise) {
    if (noise->has_cached) {
        noise->has_cached = 0;
        return noise->cached;
    }
    double angle = uniform_double(noise) * (4.0 * HALF_PI);
    double radius = radius_of(1.0 - uniform_double(noise));
    double x;
    polar(&x, &noise->cached, radius, angle);
    noise->has_cached = 1;
    return x;
}

/* ---- Philox ------------------------------------------------------------------------------------------------------- */

void noise_init_philox(struct noise *noise, uint64_t seed) {
    memset(noise, 0, sizeof *noise);
    noise->philox = 1;
    noise->key = seed;
}

/* Ten rounds on the counter (offset, 0, place, 0): the first two words. */
static void philox_words(uint32_t words[2], uint64_t seed, uint32_t offset, uint32_t place) {
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

/* Uniforms as f32, like the card's; the sine of each pair alone is used. */
static void philox_draw(float *out, size_t count, struct noise *noise) {
    for (size_t i = 0; i < count; i++) {
        uint32_t words[2];
        double x, y;
        philox_words(words, noise->key, noise->offset, (uint32_t)i);
        float u = (float)words[0] * 0x1p-32f + 0x1p-33f;
        float angle = (float)words[1] * 1.46291807926715968e-9f + 7.3145903963357984e-10f;
        polar(&x, &y, radius_of(u), angle);
        out[i] = (float)y;
    }
    noise->offset++;
}

void noise_draw(float *out, size_t count, struct noise *noise) {
    if (noise->philox) {
        philox_draw(out, count, noise);
        return;
    }
    assert(noise->place <= MT_SIZE);
    if (count < BLOCK) {
        for (size_t i = 0; i < count; i++)
            out[i] = (float)normal_single(noise);
        return;
    }
    uniform_fill(out, count, noise);
    for (size_t i = 0; i + BLOCK <= count; i += BLOCK)
        normal_block(out + i);
    if (count % BLOCK != 0) {
        /* torch draws the last 16 anew and so overwrites the end of the last whole block too */
        uniform_fill(out + count - BLOCK, BLOCK, noise);
        normal_block(out + count - BLOCK);
    }
}

/*
 * noise.c - MT19937 (Matsumoto & Nishimura 1998) and Box & Muller (1958), in torch's order.
 *
 * The transform itself is normals.h's; the same bits come from every instruction set. Torch's AVX2 form rounds the angle to f32
 * before the sine, and so do we.
 */
#include "pipeline/denoise/noise.h"

#include <assert.h>
#include <string.h>

#include "pipeline/backend/normals.h"

enum { MT_SIZE = 624, MT_SHIFT = 397, BLOCK = 16, HALF = 8 };

static const double TWO_PI = 6.28318530717958647692;

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

/* 16 uniforms -> 16 normals, in place: u[j] gives the radius, u[j+8] the angle. */
static void normal_block(float block[BLOCK]) {
    for (int j = 0; j < HALF; j++) {
        float u = 1.0f - block[j]; /* exact */
        float angle = 6.28318530717958647692f * block[j + HALF];
        double x, y;
        normals_polar(&x, &y, normals_radius(u), angle);
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
    double angle = uniform_double(noise) * TWO_PI;
    double radius = normals_radius(1.0 - uniform_double(noise));
    double x;
    normals_polar(&x, &noise->cached, radius, angle);
    noise->has_cached = 1;
    return x;
}

/* ---- Philox ------------------------------------------------------------------------------------------------------- */

void noise_init_philox(struct noise *noise, uint64_t seed) {
    memset(noise, 0, sizeof *noise);
    noise->philox = 1;
    noise->key = seed;
}

static void philox_draw(float *out, size_t count, struct noise *noise) {
    for (size_t i = 0; i < count; i++) {
        out[i] = philox_normal(noise->key, noise->offset, (uint32_t)i);
    }
    noise->offset++;
}

struct noise_row noise_next_row(struct noise *noise, double scale) {
    struct noise_row row = { .drawn = 0 };
    if (noise->philox) {
        row = (struct noise_row){ .seed = noise->key, .offset = noise->offset++, .drawn = 1, .scale = scale };
    }
    return row;
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

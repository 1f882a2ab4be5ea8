/*
 * noise.h - the Gaussian noise that seeds mean elsewhere: torch's CPU generator, one generator an image.
 *
 * MT19937 seeded with the low 32 bits; normals as at::normal_fill_scalar / the AVX2 form do (FACTS section A4):
 * bit-true in the uniform draws, within 2e-6 in the normals. One stream also feeds ancestral samplers.
 */
#ifndef PIPELINE_DENOISE_NOISE_H
#define PIPELINE_DENOISE_NOISE_H

#include <stddef.h>
#include <stdint.h>

struct noise {
    uint32_t state[624];
    uint32_t place;
    double cached; /* the second value of a double Box-Muller pair, for draws of fewer than 16 */
    int has_cached;
};

void noise_init(struct noise *noise, uint64_t seed); /* torch.Generator().manual_seed(seed) */
void noise_draw(float *out, size_t count, struct noise *noise); /* torch.randn(count, generator=...) */

#endif

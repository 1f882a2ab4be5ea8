/*
 * noise.h - the Gaussian noise that seeds mean elsewhere: torch's CPU generator, or its CUDA generator; one generator an image.
 *
 * MT19937 seeded with the low 32 bits; normals as at::normal_fill_scalar / the AVX2 form do (FACTS section A4):
 * bit-true in the uniform draws, within 2e-6 in the normals. One stream also feeds ancestral samplers.
 */
#ifndef PIPELINE_DENOISE_NOISE_H
#define PIPELINE_DENOISE_NOISE_H

#include <stddef.h>
#include <stdint.h>

#include "pipeline/backend/backend.h"

struct noise {
    uint32_t state[624];
    uint32_t place;
    double cached; /* the second value of a double Box-Muller pair, for draws of fewer than 16 */
    int has_cached;
    int philox;
    uint64_t key;    /* philox: the seed */
    uint32_t offset; /* philox: draws so far */
};

void noise_init(struct noise *noise, uint64_t seed); /* torch.Generator().manual_seed(seed) */
/* Philox 4x32-10 (Salmon 2011) as A1111's "NV" has it, for every size: torch's CUDA stream as long as the card is large enough
 * for the draw (FACTS section A4), and the same on every device. */
void noise_init_philox(struct noise *noise, uint64_t seed);
void noise_draw(float *out, size_t count, struct noise *noise); /* torch.randn(count, generator=...) */
/* The next draw of a Philox generator, for op_noise to make it on the device; the generator goes on behind it. Of torch's CPU
 * generator nothing is taken, and the row is one that op_noise leaves alone: its draws are the host's, word after word. */
struct noise_row noise_next_row(struct noise *noise, double scale);

#endif

/*
 * latent_rgb.h - colours of latents by a linear map: what a preview shows of a picture that is not decoded yet.
 *
 * A map belongs to a latent space, that is to the VAE that made it. A VAE does not say which space is its own, but those that
 * share one share its scaling_factor: maps are found by that.
 */
#ifndef PIPELINE_IMAGE_LATENT_RGB_H
#define PIPELINE_IMAGE_LATENT_RGB_H

#include <stdint.h>

#include "pipeline/pipeline.h"

/* colour = bias + sum of latent[c] * weights[c], in -1..1 (about), of latents as the U-Net sees them. */
struct latent_rgb {
    float scaling_factor;
    uint32_t channels;
    float weights[4][3]; /* [channels]: red, green, blue */
    float bias[3];
};

/* NULL: a space that no map is known for. */
const struct latent_rgb *latent_rgb_find(float scaling_factor, uint32_t channels);

/* A side of the preview of `height` x `width` latents: as they are, or shrunk by the same whole number to at most PREVIEW_SIDE. */
struct preview_size {
    uint32_t height, width;
    uint32_t shrunk; /* so many latents a side are one pixel */
};
struct preview_size preview_size(uint32_t height, uint32_t width);

/* latents [height,width,channels] -> rgb [preview_size] u8 = round(127.5 * (clamp(colour, -1, 1) + 1)); a pixel of several latents
 * has their mean. What is not finite is black. */
void latent_rgb_draw(uint8_t *rgb, const struct latent_rgb *map, const float *latents, uint32_t height, uint32_t width);

#endif

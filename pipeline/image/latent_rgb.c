/*
 * latent_rgb.c - the maps that are known, and drawing with them.
 *
 * Stable Diffusion's and SDXL's are those of ComfyUI (latent_formats.py). The demo model's was fitted by least squares to 16 of
 * its pictures (20 steps, cfg 4), each shrunk to its latents: on 8 that were left out of such a fit its colours correlate with the
 * picture's by 0.93 to 0.98.
 */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "pipeline/image/latent_rgb.h"

static const struct latent_rgb MAPS[] = {
    { 0.18215f, 4, /* Stable Diffusion 1 and 2 */
      { { 0.3512f, 0.2297f, 0.3227f }, { 0.3250f, 0.4974f, 0.2350f }, { -0.2829f, 0.1762f, 0.2721f }, { -0.2120f, -0.2616f, -0.7177f } },
      { 0.0f, 0.0f, 0.0f } },
    { 0.13025f, 4, /* SDXL and its refiner */
      { { 0.3651f, 0.4232f, 0.4341f }, { -0.2533f, -0.0042f, 0.1068f }, { 0.1076f, 0.1111f, -0.0362f }, { -0.3165f, -0.2492f, -0.2188f } },
      { 0.1084f, -0.0175f, -0.0011f } },
    { 0.3806f, 4, /* models/demo */
      { { -0.5445f, -0.1889f, 0.2244f }, { -0.0422f, -0.0345f, 0.2792f }, { -0.1722f, -0.3069f, -0.3432f }, { 0.2937f, -0.2900f, -0.0012f } },
      { 0.1932f, 0.0904f, -0.0146f } },
};
enum { MAP_COUNT = sizeof MAPS / sizeof *MAPS };

const struct latent_rgb *latent_rgb_find(float scaling_factor, uint32_t channels) {
    for (size_t i = 0; i < MAP_COUNT; i++) {
        if (MAPS[i].channels == channels && fabsf(MAPS[i].scaling_factor - scaling_factor) < 1e-6f) {
            return &MAPS[i];
        }
    }
    return NULL;
}

struct preview_size preview_size(uint32_t height, uint32_t width) {
    uint32_t longest = height > width ? height : width, shrunk = (longest + PREVIEW_SIDE - 1) / PREVIEW_SIDE;
    return (struct preview_size){ (height + shrunk - 1) / shrunk, (width + shrunk - 1) / shrunk, shrunk };
}

static uint8_t level(double colour) {
    return isfinite(colour) ? (uint8_t)lround(127.5 * (fmin(fmax(colour, -1.0), 1.0) + 1.0)) : 0;
}

/* The mean of a cell's latents; cells at the right and lower edges may be cut off. */
static void cell_mean(double *mean, const struct latent_rgb *map, const float *latents, uint32_t height, uint32_t width, uint32_t top,
                      uint32_t left, uint32_t side) {
    uint32_t bottom = height - top < side ? height : top + side, right = width - left < side ? width : left + side;
    memset(mean, 0, map->channels * sizeof *mean);
    for (uint32_t y = top; y < bottom; y++) {
        for (uint32_t x = left; x < right; x++) {
            for (uint32_t c = 0; c < map->channels; c++) {
                mean[c] += (double)latents[((size_t)y * width + x) * map->channels + c];
            }
        }
    }
    for (uint32_t c = 0; c < map->channels; c++) {
        mean[c] /= (double)(bottom - top) * (right - left);
    }
}

void latent_rgb_draw(uint8_t *rgb, const struct latent_rgb *map, const float *latents, uint32_t height, uint32_t width) {
    struct preview_size size = preview_size(height, width);
    double mean[4];
    assert(map->channels <= sizeof mean / sizeof *mean);
    for (uint32_t y = 0; y < size.height; y++) {
        for (uint32_t x = 0; x < size.width; x++, rgb += 3) {
            cell_mean(mean, map, latents, height, width, y * size.shrunk, x * size.shrunk, size.shrunk);
            for (uint32_t colour = 0; colour < 3; colour++) {
                double value = (double)map->bias[colour];
                for (uint32_t c = 0; c < map->channels; c++) {
                    value += mean[c] * (double)map->weights[c][colour];
                }
                rgb[colour] = level(value);
            }
        }
    }
}

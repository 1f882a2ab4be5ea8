/*
 * shrink.c - pictures made smaller: a separable triangle filter whose support grows with the scale.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "picture/sheet_parts.h"

/* The source places of one target place, and their weights, which sum to 1. */
struct taps {
    uint32_t first, count;
    float *weights; /* [count], owned */
};

static struct taps *taps_create(uint32_t from, uint32_t to) {
    struct taps *all = memory_get_array(to, sizeof *all);
    double scale = (double)from / to;
    for (uint32_t i = 0; i < to; i++) {
        double centre = (i + 0.5) * scale, sum = 0;
        double first = fmax(0, floor(centre - scale)), last = fmin(from, ceil(centre + scale));
        struct taps *taps = &all[i];
        *taps = (struct taps){ (uint32_t)first, (uint32_t)(last - first), NULL };
        taps->weights = memory_get_array(taps->count, sizeof *taps->weights);
        for (uint32_t k = 0; k < taps->count; k++) {
            taps->weights[k] = (float)fmax(0, 1 - fabs(first + k + 0.5 - centre) / scale);
            sum += taps->weights[k];
        }
        for (uint32_t k = 0; k < taps->count; k++)
            taps->weights[k] = (float)(taps->weights[k] / sum);
    }
    return all;
}

static void taps_destroy(struct taps *all, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        free(all[i].weights);
    free(all);
}

/* row [width,3] f32 = the weighted source rows of one target row. */
static void rows_mix(float *row, const struct picture *from, const struct taps *taps) {
    size_t size = (size_t)from->width * 3;
    for (size_t i = 0; i < size; i++)
        row[i] = 0;
    for (uint32_t k = 0; k < taps->count; k++) {
        const uint8_t *source = from->rgb + (taps->first + k) * size;
        for (size_t i = 0; i < size; i++)
            row[i] += taps->weights[k] * source[i];
    }
}

void picture_shrink(struct picture *out, const struct picture *from, uint32_t width, uint32_t height) {
    assert(width >= 1 && height >= 1 && width <= from->width && height <= from->height);
    struct taps *across = taps_create(from->width, width), *down = taps_create(from->height, height);
    float *row = memory_get_array((size_t)from->width * 3, sizeof *row); /* [from width,3] */
    uint8_t *rgb = memory_get_array((size_t)width * height, 3);
    for (uint32_t y = 0; y < height; y++) {
        rows_mix(row, from, &down[y]);
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < 3; c++) {
                float sum = 0;
                for (uint32_t k = 0; k < across[x].count; k++)
                    sum += across[x].weights[k] * row[(across[x].first + k) * 3 + c];
                rgb[((size_t)y * width + x) * 3 + c] = (uint8_t)fminf(255, sum + 0.5f);
            }
    }
    *out = (struct picture){ width, height, rgb };
    taps_destroy(across, width);
    taps_destroy(down, height);
    free(row);
}

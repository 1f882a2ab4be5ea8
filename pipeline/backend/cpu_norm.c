/*
 * cpu_norm.c - group norm and layer norm. Sums are taken in double, so that a large mean costs nothing; partial sums
 * over chunks of places are added in order.
 */
#include <math.h>

#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/cpu_math.h"

enum { HALF = LANES / 2 };

INLINE vec_double widen_half(const float *from) {
    return __builtin_convertvector(*(const vec_half_unaligned *)from, vec_double);
}

/* ---- group norm ------------------------------------------------------------------------------------------------- */

/* Add `rows` places of x to sums[2][channels]: sum and sum of squares of each channel. */
static void sum_piece(double *sums, const float *x, uint32_t rows, uint32_t channels) {
    uint32_t c = 0;
    for (; c + 2 * HALF <= channels; c += 2 * HALF) {
        vec_double sum[2], squares[2];
        memcpy(sum, sums + c, sizeof sum);
        memcpy(squares, sums + channels + c, sizeof squares);
        const float *place = x + c;
        for (uint32_t r = 0; r < rows; r++, place += channels) {
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++) {
                vec_double value = widen_half(place + i * HALF);
                sum[i] += value;
                squares[i] += value * value;
            }
        }
        memcpy(sums + c, sum, sizeof sum);
        memcpy(sums + channels + c, squares, sizeof squares);
    }
    for (; c < channels; c++) {
        for (uint32_t r = 0; r < rows; r++) {
            double value = x[(size_t)r * channels + c];
            sums[c] += value;
            sums[channels + c] += value * value;
        }
    }
}

/* One chunk: sums[image][chunk][2][channels] */
void KERNEL(norm_sum)(const struct norm *norm, uint32_t image, uint32_t chunk);
void KERNEL(norm_sum)(const struct norm *norm, uint32_t image, uint32_t chunk) {
    uint32_t step = norm_chunk_rows(norm->rows), row = chunk * step;
    uint32_t end = row + step < norm->rows ? row + step : norm->rows;
    double *sums = norm->sums + ((size_t)image * norm_chunks(norm->rows) + chunk) * 2 * norm->channels;
    memset(sums, 0, (size_t)2 * norm->channels * sizeof *sums);
    for (; row < end; row += NORM_PIECE) {
        sum_piece(sums, norm->x + ((size_t)image * norm->rows + row) * norm->channels,
                  end - row < NORM_PIECE ? end - row : NORM_PIECE, norm->channels);
    }
}

/* out = x * factor + offset for each channel: factors[image][2][channels] */
void KERNEL(norm_factors)(const struct norm *norm, uint32_t image);
void KERNEL(norm_factors)(const struct norm *norm, uint32_t image) {
    uint32_t chunks = norm_chunks(norm->rows), width = norm->channels / norm->groups;
    const double *sums = norm->sums + (size_t)image * chunks * 2 * norm->channels;
    float *factors = norm->factors + (size_t)image * 2 * norm->channels;
    double count = (double)norm->rows * width;
    for (uint32_t g = 0; g < norm->groups; g++) {
        double sum = 0.0, squares = 0.0;
        for (uint32_t i = 0; i < chunks; i++) {
            const double *part = sums + (size_t)i * 2 * norm->channels + (size_t)g * width;
            for (uint32_t c = 0; c < width; c++) {
                sum += part[c];
                squares += part[norm->channels + c];
            }
        }
        double mean = sum / count, variance = squares / count - mean * mean;
        variance = variance < 0.0 ? 0.0 : variance; /* NaN stays */
        double inverse = 1.0 / sqrt(variance + (double)norm->epsilon);
        for (uint32_t c = g * width; c < (g + 1) * width; c++) {
            factors[c] = (float)(inverse * norm->gamma[c]);
            factors[norm->channels + c] = (float)(norm->beta[c] - mean * inverse * norm->gamma[c]);
        }
    }
}

void KERNEL(norm_apply)(const struct norm *norm, uint32_t image, uint32_t first_row, uint32_t rows);
void KERNEL(norm_apply)(const struct norm *norm, uint32_t image, uint32_t first_row, uint32_t rows) {
    size_t start = ((size_t)image * norm->rows + first_row) * norm->channels;
    const float *factor = norm->factors + (size_t)image * 2 * norm->channels, *offset = factor + norm->channels;
    const float *x = norm->x + start;
    float *out = norm->out + start;
    for (uint32_t r = 0; r < rows; r++, x += norm->channels, out += norm->channels) {
        for (uint32_t c = 0; c < norm->channels; c += LANES) {
            size_t count = norm->channels - c;
            vec value = vec_fma(vec_load_upto(x + c, count), vec_load_upto(factor + c, count),
                                vec_load_upto(offset + c, count));
            vec_store_upto(out + c, norm->silu ? vec_silu(value) : value, count);
        }
    }
}

/* ---- layer norm ------------------------------------------------------------------------------------------------- */

static double lanes_sum(vec_double x) {
    double part[HALF];
    memcpy(part, &x, sizeof part);
#pragma GCC unroll 3
    for (int count = HALF / 2; count > 0; count /= 2) {
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            part[i] += part[i + count];
        }
    }
    return part[0];
}

static void layer_norm_row(const struct norm *norm, const float *x, float *out) {
    vec_double sum = { 0 }, squares = { 0 };
    uint32_t whole = norm->channels / HALF * HALF;
    double tail = 0.0, tail_squares = 0.0;
    for (uint32_t c = 0; c < whole; c += HALF) {
        sum += widen_half(x + c);
    }
    for (uint32_t c = whole; c < norm->channels; c++) {
        tail += x[c];
    }
    double mean = (lanes_sum(sum) + tail) / norm->channels;
    for (uint32_t c = 0; c < whole; c += HALF) {
        vec_double value = widen_half(x + c) - mean;
        squares += value * value;
    }
    for (uint32_t c = whole; c < norm->channels; c++) {
        tail_squares += (x[c] - mean) * (x[c] - mean);
    }
    double variance = (lanes_sum(squares) + tail_squares) / norm->channels;
    float inverse = (float)(1.0 / sqrt(variance + (double)norm->epsilon)), centre = (float)mean;
    for (uint32_t c = 0; c < norm->channels; c += LANES) {
        size_t count = norm->channels - c;
        vec value = (vec_load_upto(x + c, count) - centre) * inverse;
        value = vec_fma(value, vec_load_upto(norm->gamma + c, count), vec_load_upto(norm->beta + c, count));
        vec_store_upto(out + c, value, count);
    }
}

void KERNEL(layer_norm)(const struct norm *norm, uint32_t first_row, uint32_t rows);
void KERNEL(layer_norm)(const struct norm *norm, uint32_t first_row, uint32_t rows) {
    for (size_t r = first_row; r < (size_t)first_row + rows; r++) {
        layer_norm_row(norm, norm->x + r * norm->channels, norm->out + r * norm->channels);
    }
}

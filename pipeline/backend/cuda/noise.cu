/*
 * noise.cu - a picture's noise, made where it is used.
 *
 * The arithmetic is normals.h's, and this file is compiled without contraction (CMakeLists.txt): the host's bits.
 */
#include "pipeline/backend/cuda/elements.cuh"
#include "pipeline/backend/normals.h"

/* Blocks (part of a row, row). */
__global__ void noise_kernel(float *out, const struct noise_row *rows, size_t area, uint32_t channels) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x, size = area * channels;
    const struct noise_row row = rows[blockIdx.y];
    if (item < size && row.drawn != 0) {
        out[blockIdx.y * size + item] = noise_row_value(&row, item, area, channels);
    }
}

void kernel_noise(cudaStream_t stream, float *out, const struct noise_row *rows, uint32_t count, size_t area, uint32_t channels) {
    launch(noise_kernel, dim3(blocks_for(area * channels), count), BLOCK, stream, out, rows, area, channels);
}

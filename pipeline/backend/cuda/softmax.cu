/*
 * softmax.cu - rows of scores to weights, for the attention whose scores are stored (attention.c says which).
 *
 * A warp a row, three looks at it; the row stays in cache.
 */
#include "pipeline/backend/cuda/elements.cuh"

template <class T> __global__ void softmax_kernel(T *out, const float *scores, size_t rows_in_all, uint32_t rows, uint32_t keys,
                                                  float scale, bool causal, uint32_t first_row) {
    size_t row = (size_t)blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    uint32_t lane = threadIdx.x % WARP;
    if (row >= rows_in_all) {
        return; /* a whole warp goes, or none of it */
    }
    uint32_t sees = first_row + (uint32_t)(row % rows) + 1;
    sees = causal && sees < keys ? sees : keys;
    const float *x = scores + row * keys;
    float most = -INFINITY, sum = 0.0f;
    for (uint32_t i = lane; i < sees; i += WARP) {
        most = x[i] <= most ? most : x[i]; /* a NaN stays */
    }
    most = warp_max(most);
    for (uint32_t i = lane; i < sees; i += WARP) {
        sum += expf(scale * (x[i] - most));
    }
    sum = warp_sum(sum);
    for (uint32_t i = lane; i < keys; i += WARP) {
        narrow(&out[row * keys + i], i < sees ? expf(scale * (x[i] - most)) / sum : 0.0f);
    }
}

void kernel_softmax(cudaStream_t stream, enum dtype dtype, void *out, const float *scores, uint32_t matrices, uint32_t rows,
                    uint32_t keys, float scale, bool causal, uint32_t first_row) {
    size_t rows_in_all = (size_t)matrices * rows;
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(softmax_kernel<T>, (unsigned)((rows_in_all + BLOCK / WARP - 1) / (BLOCK / WARP)), BLOCK, stream, (T *)out,
               scores, rows_in_all, rows, keys, scale, causal, first_row);
    });
}

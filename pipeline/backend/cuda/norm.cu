/*
 * norm.cu - group norm with SiLU, and layer norm.
 *
 * A group norm is three launches. Channel by channel over a chunk of places: mean and sum of squares around it, two looks
 * at a chunk that stays in the L1 cache. Then a block a (group, image) joins them (Chan, Golub & LeVeque 1979) in double.
 * Then everything is scaled. Chunks follow the picture's size alone, so an image's bytes do not hang on its batch.
 */
#include "pipeline/backend/cuda/elements.cuh"

enum { CHUNK_ROWS = 64, CHUNKS_MAX = 256, SLAB = 32 /* packs of channels a block */ };

static uint32_t chunk_rows(uint32_t rows) {
    uint32_t least = CHUNK_ROWS, needed = (rows + CHUNKS_MAX - 1) / CHUNKS_MAX;
    return needed < least ? least : needed;
}

static uint32_t chunk_count(uint32_t rows) {
    return (rows + chunk_rows(rows) - 1) / chunk_rows(rows);
}

/* [images,chunks,2,channels] of chunks, [images,2,channels] of factors. */
size_t kernel_group_norm_notes(uint32_t images, uint32_t rows, uint32_t channels) {
    return ((size_t)chunk_count(rows) + 1) * images * 2 * channels * sizeof(float);
}

/* Block (slab of channels, chunk, image): SLAB packs of channels across, BLOCK / SLAB rows down. */
template <class T, int V> __global__ void chunk_kernel(struct cuda_norm norm, uint32_t step) {
    __shared__ float partial[BLOCK / SLAB][SLAB * V];
    __shared__ float mean[SLAB * V];
    uint32_t lane = threadIdx.x % SLAB, down = threadIdx.x / SLAB, c = norm.channels;
    uint32_t channel = (blockIdx.x * SLAB + lane) * V, first = blockIdx.y * step;
    uint32_t end = first + step < norm.rows ? first + step : norm.rows;
    const T *x = (const T *)norm.x + (size_t)blockIdx.z * norm.rows * c + channel;
    float *notes = norm.notes + ((size_t)blockIdx.z * gridDim.y + blockIdx.y) * 2 * c;
    float values[V], sums[V];
    for (int look = 0; look < 2; look++) {
        for (int i = 0; i < V; i++) {
            sums[i] = 0.0f;
        }
        for (uint32_t row = first + down; channel < c && row < end; row += BLOCK / SLAB) {
            load<T, V>(values, x + (size_t)row * c);
            for (int i = 0; i < V; i++) {
                float away = look == 0 ? values[i] : values[i] - mean[lane * V + i];
                sums[i] += look == 0 ? away : away * away;
            }
        }
        for (int i = 0; i < V; i++) {
            partial[down][lane * V + i] = sums[i];
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < SLAB * V; i += BLOCK) {
            float sum = 0.0f;
            for (int k = 0; k < BLOCK / SLAB; k++) {
                sum += partial[k][i];
            }
            uint32_t at = blockIdx.x * SLAB * V + i;
            if (look == 0) {
                mean[i] = sum / (float)(end - first);
            }
            if (at < c) {
                notes[look * c + at] = look == 0 ? mean[i] : sum;
            }
        }
        __syncthreads();
    }
}

__device__ static double block_sum(double x, double *shared) {
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) {
        shared[threadIdx.x / WARP] = x;
    }
    __syncthreads();
    double sum = 0.0;
    for (unsigned i = 0; i < blockDim.x / WARP; i++) {
        sum += shared[i];
    }
    __syncthreads();
    return sum;
}

enum { JOIN = 128 };

/* Block (group, image). */
template <class T> __global__ void join_kernel(struct cuda_norm norm, uint32_t chunks, uint32_t step) {
    __shared__ double shared[JOIN / WARP];
    uint32_t c = norm.channels, width = c / norm.groups, first = blockIdx.x * width, items = chunks * width;
    const float *notes = norm.notes + (size_t)blockIdx.y * chunks * 2 * c;
    double sum = 0.0, squares = 0.0, count = (double)norm.rows * width;
    for (uint32_t i = threadIdx.x; i < items; i += JOIN) {
        uint32_t chunk = i / width, left = norm.rows - chunk * step;
        sum += (double)(left < step ? left : step) * (double)notes[(size_t)chunk * 2 * c + first + i % width];
    }
    double mean = block_sum(sum, shared) / count;
    for (uint32_t i = threadIdx.x; i < items; i += JOIN) {
        uint32_t chunk = i / width, left = norm.rows - chunk * step;
        const float *note = notes + (size_t)chunk * 2 * c + first + i % width;
        double away = (double)note[0] - mean;
        squares += (double)note[c] + (double)(left < step ? left : step) * away * away;
    }
    double inverse = 1.0 / sqrt(block_sum(squares, shared) / count + (double)norm.epsilon);
    float *factors = norm.notes + (size_t)gridDim.y * chunks * 2 * c + (size_t)blockIdx.y * 2 * c;
    for (uint32_t i = threadIdx.x; i < width; i += JOIN) {
        factors[first + i] = (float)mean;
        factors[c + first + i] = (float)inverse * widen(((const T *)norm.gamma)[first + i]);
    }
}

template <class T, int V> __global__ void scale_kernel(struct cuda_norm norm, uint32_t chunks) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x, image = (size_t)norm.rows * norm.channels;
    if (item * V >= norm.images * image) {
        return;
    }
    uint32_t c = norm.channels, channel = (uint32_t)(item * V % c);
    const float *factors = norm.notes + (size_t)norm.images * chunks * 2 * c + item * V / image * 2 * c + channel;
    float x[V], beta[V];
    load<T, V>(x, (const T *)norm.x + item * V);
    load<T, V>(beta, (const T *)norm.beta + channel);
    for (int i = 0; i < V; i++) {
        x[i] = (x[i] - factors[i]) * factors[c + i] + beta[i];
        x[i] = norm.silu ? silu(x[i]) : x[i];
    }
    store<T, V>((T *)norm.out + item * V, x);
}

template <class T, int V> static void group_norm(cudaStream_t stream, const struct cuda_norm *norm) {
    uint32_t chunks = chunk_count(norm->rows), step = chunk_rows(norm->rows), packs_in_row = norm->channels / V;
    launch(chunk_kernel<T, V>, dim3((packs_in_row + SLAB - 1) / SLAB, chunks, norm->images), BLOCK, stream, *norm, step);
    launch(join_kernel<T>, dim3(norm->groups, norm->images), JOIN, stream, *norm, chunks, step);
    launch(scale_kernel<T, V>, blocks_for((size_t)norm->images * norm->rows * packs_in_row), BLOCK, stream, *norm, chunks);
}

void kernel_group_norm(cudaStream_t stream, enum dtype dtype, const struct cuda_norm *norm) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        if (packs<T>(norm->channels)) {
            group_norm<T, 16 / sizeof(T)>(stream, norm);
        } else {
            group_norm<T, 1>(stream, norm);
        }
    });
}

/* ---- layer norm: a warp a row --------------------------------------------------------------------------------------- */

template <class T, int V> __global__ void layer_norm_kernel(struct cuda_norm norm) {
    size_t row = (size_t)blockIdx.x * (BLOCK / WARP) + threadIdx.x / WARP;
    uint32_t lane = threadIdx.x % WARP * V, c = norm.channels;
    if (row >= norm.rows) {
        return; /* a whole warp goes, or none of it */
    }
    const T *x = (const T *)norm.x + row * c;
    float values[V], gamma[V], beta[V], sum = 0.0f, squares = 0.0f;
    for (uint32_t i = lane; i < c; i += WARP * V) {
        load<T, V>(values, x + i);
        for (int k = 0; k < V; k++) {
            sum += values[k];
        }
    }
    float mean = warp_sum(sum) / (float)c;
    for (uint32_t i = lane; i < c; i += WARP * V) {
        load<T, V>(values, x + i);
        for (int k = 0; k < V; k++) {
            squares += (values[k] - mean) * (values[k] - mean);
        }
    }
    float inverse = 1.0f / sqrtf(warp_sum(squares) / (float)c + norm.epsilon);
    for (uint32_t i = lane; i < c; i += WARP * V) {
        load<T, V>(values, x + i);
        load<T, V>(gamma, (const T *)norm.gamma + i);
        load<T, V>(beta, (const T *)norm.beta + i);
        for (int k = 0; k < V; k++) {
            values[k] = (values[k] - mean) * inverse * gamma[k] + beta[k];
        }
        store<T, V>((T *)norm.out + row * c + i, values);
    }
}

void kernel_layer_norm(cudaStream_t stream, enum dtype dtype, const struct cuda_norm *norm) {
    unsigned blocks = (norm->rows + BLOCK / WARP - 1) / (BLOCK / WARP);
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        if (packs<T>(norm->channels)) {
            launch(layer_norm_kernel<T, 16 / sizeof(T)>, blocks, BLOCK, stream, *norm);
        } else {
            launch(layer_norm_kernel<T, 1>, blocks, BLOCK, stream, *norm);
        }
    });
}

/*
 * move.cu - kernels that only move elements: nearest resizing, a convolution's windows, heads apart and together.
 *
 * A thread an element of the output; reads and writes of neighbours are neighbours.
 */
#include "pipeline/backend/cuda/elements.cuh"

template <class P> __global__ void resize_kernel(P *out, const P *x, size_t count, uint32_t h, uint32_t w, uint32_t c,
                                                 uint32_t to_h, uint32_t to_w) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item >= count) {
        return;
    }
    size_t place = item / c;
    uint32_t j = (uint32_t)(place % to_w), i = (uint32_t)(place / to_w % to_h);
    size_t n = place / to_w / to_h, from = (n * h + (uint64_t)i * h / to_h) * w + (uint64_t)j * w / to_w;
    out[item] = x[from * c + item % c];
}

void kernel_resize(cudaStream_t stream, enum dtype dtype, void *out, const void *x, uint32_t n, uint32_t h, uint32_t w,
                   uint32_t c, uint32_t to_h, uint32_t to_w) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        constexpr int V = 16 / sizeof(T);
        typedef pack<T, V> P;
        size_t places = (size_t)n * to_h * to_w;
        if (packs<T>(c)) {
            launch(resize_kernel<P>, blocks_for(places * (c / V)), BLOCK, stream, (P *)out, (const P *)x, places * (c / V), h,
                   w, c / V, to_h, to_w);
        } else {
            launch(resize_kernel<T>, blocks_for(places * c), BLOCK, stream, (T *)out, (const T *)x, places * c, h, w, c, to_h,
                   to_w);
        }
    });
}

template <class T> __global__ void windows_kernel(struct windows d) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    uint32_t k = d.kh * d.kw * d.c;
    if (item >= d.rows * k) {
        return;
    }
    size_t row = d.first_row + item / k;
    uint32_t inside = (uint32_t)(item % k), channel = inside % d.c, tap = inside / d.c;
    uint32_t j = (uint32_t)(row % d.out_w), i = (uint32_t)(row / d.out_w % d.out_h);
    size_t n = row / d.out_w / d.out_h;
    int64_t y = (int64_t)i * d.stride + tap / d.kw - d.pad_top, x = (int64_t)j * d.stride + tap % d.kw - d.pad_left;
    T value;
    narrow(&value, 0.0f);
    if (y >= 0 && y < d.resized_h && x >= 0 && x < d.resized_w) {
        size_t from_y = (size_t)(y * d.h / d.resized_h), from_x = (size_t)(x * d.w / d.resized_w);
        value = ((const T *)d.x)[((n * d.h + from_y) * d.w + from_x) * d.c + channel];
    }
    ((T *)d.out)[item] = value;
}

void kernel_windows(cudaStream_t stream, enum dtype dtype, const struct windows *d) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(windows_kernel<T>, blocks_for(d->rows * d->kh * d->kw * d->c), BLOCK, stream, *d);
    });
}

/* ---- heads -------------------------------------------------------------------------------------------------------- */

template <class T> __global__ void split_kernel(T *out, const T *x, size_t row, const int32_t *index, size_t count, uint32_t m,
                                                uint32_t length, uint32_t heads, uint32_t depth) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item >= count) {
        return;
    }
    uint32_t d = (uint32_t)(item % depth), t = (uint32_t)(item / depth % length);
    size_t head = item / depth / length % heads, n = item / depth / length / heads;
    size_t from = index == nullptr ? n : (uint32_t)index[n];
    if (from < m) {
        out[item] = x[(from * length + t) * row + head * depth + d];
    } else {
        narrow(&out[item], nanf(""));
    }
}

void kernel_heads_split(cudaStream_t stream, enum dtype dtype, void *out, const void *x, size_t row, const int32_t *index,
                        uint32_t n, uint32_t m, uint32_t length, uint32_t heads, uint32_t depth) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        size_t count = (size_t)n * heads * length * depth;
        launch(split_kernel<T>, blocks_for(count), BLOCK, stream, (T *)out, (const T *)x, row, index, count, m, length, heads,
               depth);
    });
}

template <class T>
__global__ void merge_kernel(T *out, const T *x, size_t count, uint32_t length, uint32_t heads, uint32_t depth) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item >= count) {
        return;
    }
    uint32_t d = (uint32_t)(item % depth), head = (uint32_t)(item / depth % heads);
    size_t t = item / depth / heads % length, n = item / depth / heads / length;
    out[item] = x[((n * heads + head) * length + t) * depth + d];
}

void kernel_heads_merge(cudaStream_t stream, enum dtype dtype, void *out, const void *x, uint32_t n, uint32_t length,
                        uint32_t heads, uint32_t depth) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        size_t count = (size_t)n * heads * length * depth;
        launch(merge_kernel<T>, blocks_for(count), BLOCK, stream, (T *)out, (const T *)x, count, length, heads, depth);
    });
}

/*
 * elements.cuh - what the kernels share: elements of three types read and written as f32, 16 bytes at a time where
 * shapes allow, sums over a warp, and the choice of a template by dtype.
 */
#ifndef PIPELINE_BACKEND_CUDA_ELEMENTS_CUH
#define PIPELINE_BACKEND_CUDA_ELEMENTS_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "pipeline/backend/cuda/kernels.h"
#include "pipeline/backend/cuda/launch.cuh"

enum { BLOCK = 256, WARP = 32 };

__device__ static inline float widen(float x) {
    return x;
}
__device__ static inline float widen(__half x) {
    return __half2float(x);
}
__device__ static inline float widen(__nv_bfloat16 x) {
    return __bfloat162float(x);
}
__device__ static inline void narrow(float *out, float x) {
    *out = x;
}
__device__ static inline void narrow(__half *out, float x) {
    *out = __float2half_rn(x);
}
__device__ static inline void narrow(__nv_bfloat16 *out, float x) {
    *out = __float2bfloat16_rn(x);
}

/* V neighbours, loaded and stored as one. */
template <class T, int V> struct alignas(sizeof(T) * V) pack {
    T at[V];
};

template <class T, int V> __device__ static inline void load(float (&out)[V], const T *x) {
    pack<T, V> values = *(const pack<T, V> *)x;
#pragma unroll
    for (int i = 0; i < V; i++) {
        out[i] = widen(values.at[i]);
    }
}

template <class T, int V> __device__ static inline void store(T *out, const float (&x)[V]) {
    pack<T, V> values;
#pragma unroll
    for (int i = 0; i < V; i++) {
        narrow(&values.at[i], x[i]);
    }
    *(pack<T, V> *)out = values;
}

/* In every lane, in an order that no lane differs in. */
__device__ static inline float warp_sum(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    return x;
}

__device__ static inline double warp_sum(double x) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    return x;
}

/* NaN wins. */
__device__ static inline float warp_max(float x) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        float other = __shfl_xor_sync(0xffffffffu, x, step);
        x = x >= other || x != x ? x : other;
    }
    return x;
}

/* exp of -80 is as good as nothing to a SiLU, and keeps the division finite. NaN passes. */
__device__ static inline float silu(float x) {
    return x / (1.0f + expf(x < -80.0f ? 80.0f : -x));
}

__device__ static inline float gelu(float x) {
    return 0.5f * x * erfcf(-x * 0.70710678118654752f);
}

static inline unsigned blocks_for(size_t items) {
    return (unsigned)((items + BLOCK - 1) / BLOCK);
}

/* Elements of a pack: 16 bytes, where every row has a whole number of them. */
template <class T> static inline bool packs(uint32_t columns) {
    return columns % (16 / sizeof(T)) == 0;
}

/* Calls `run` with a null pointer of the element type. */
template <class F> static inline void by_dtype(enum dtype dtype, F run) {
    if (dtype == DTYPE_F16) {
        run((__half *)nullptr);
    } else if (dtype == DTYPE_BF16) {
        run((__nv_bfloat16 *)nullptr);
    } else {
        run((float *)nullptr);
    }
}

#endif

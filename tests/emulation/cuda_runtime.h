/*
 * cuda_runtime.h - CUDA C++ for a C++ compiler: kernels run block by block on the CPU, a block's threads as fibers that
 * meet at its barriers (fibers.cc).
 */
#ifndef TESTS_EMULATION_CUDA_RUNTIME_H
#define TESTS_EMULATION_CUDA_RUNTIME_H

#include <math.h>
#include <string.h>

#include <tuple>
#include <type_traits>

#include "cuda_runtime_api.h"
#include "emulation.h"

#define EMULATED_CUDA 1
#define __global__
#define __device__
#define __host__
#define __shared__ static __thread

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned in_x = 1, unsigned in_y = 1, unsigned in_z = 1) : x(in_x), y(in_y), z(in_z) {}
};

struct uint3 {
    unsigned x, y, z;
};

extern __thread uint3 threadIdx, blockIdx, blockDim, gridDim;

static inline void __syncthreads(void) {
    emulation_block_barrier();
}

template <class T> static inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask) {
    static_assert(sizeof(T) <= 8, "a register or two");
    (void)mask;
    char *values = (char *)emulation_warp_values;
    unsigned lane = emulation_lane;
    memcpy(values + 8 * lane, &value, sizeof value);
    emulation_warp_barrier();
    memcpy(&value, values + 8 * (lane ^ (unsigned)lane_mask), sizeof value);
    emulation_warp_barrier();
    return value;
}

static inline unsigned __float_as_uint(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline int atomicAdd(int *place, int value) {
    int before = *place;
    *place = before + value;
    return before;
}

template <class... P, class... A>
static inline void launch(void (*kernel)(P...), dim3 grid, unsigned block, cudaStream_t stream, A... arguments) {
    std::tuple<P...> values(static_cast<P>(arguments)...);
    emulation_enqueue(stream, [=] { emulation_run_grid(grid, block, [&] { std::apply(kernel, values); }); });
}

#endif

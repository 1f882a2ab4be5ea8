/* cuda_fp16.h - __half as far as seedfarm's kernels use it. */
#ifndef TESTS_EMULATION_CUDA_FP16_H
#define TESTS_EMULATION_CUDA_FP16_H

#include "half_bits.h"

struct __half {
    uint16_t bits;
};

static inline float __half2float(__half x) {
    return float_of_half(x.bits);
}
static inline __half __float2half_rn(float x) {
    return __half{ half_of_float(x) };
}

#endif

/* cuda_bf16.h - __nv_bfloat16 as far as seedfarm's kernels use it. */
#ifndef TESTS_EMULATION_CUDA_BF16_H
#define TESTS_EMULATION_CUDA_BF16_H

#include "half_bits.h"

struct __nv_bfloat16 {
    uint16_t bits;
};

static inline float __bfloat162float(__nv_bfloat16 x) {
    return float_of_bfloat(x.bits);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    return __nv_bfloat16{ bfloat_of_float(x) };
}

#endif

/* cuda_bf16.h - __nv_bfloat16 as far as seedfarm's kernels use it. */
#ifndef TESTS_EMULATION_CUDA_BF16_H
#define TESTS_EMULATION_CUDA_BF16_H

#include "half_bits.h"

EMULATED_HALF(__nv_bfloat16, __bfloat162float, __float2bfloat16_rn, float_of_bfloat, bfloat_of_float)

#endif

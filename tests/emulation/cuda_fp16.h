/* cuda_fp16.h - __half as far as seedfarm's kernels use it. */
#ifndef TESTS_EMULATION_CUDA_FP16_H
#define TESTS_EMULATION_CUDA_FP16_H

#include "half_bits.h"

EMULATED_HALF(__half, __half2float, __float2half_rn, float_of_half, half_of_float)

#endif

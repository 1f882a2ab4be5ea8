/*
 * cpu_math.h - exp, sigmoid and erf on vectors: the same bits in every lane, NaN in gives NaN out.
 *
 * Errors measured over all floats of the range (tests/pipeline/math_test.c).
 */
#ifndef PIPELINE_BACKEND_CPU_MATH_H
#define PIPELINE_BACKEND_CPU_MATH_H

#include "pipeline/backend/backend.h"
#include "pipeline/backend/cpu_vector.h"

/* e^x for x up to 88.3; 0 below -87.3 (no subnormals). Cody and Waite's reduction, the polynomial of Cephes' expf. */
INLINE vec vec_exp_unbounded(vec x) {
    const float magic = 0x1.8p23f; /* adding it rounds to an integer, half to even */
    vec shifted = vec_fma(x, vec_all(1.44269504088896341f), vec_all(magic));
    vec n = shifted - magic;
    vec r = vec_fma(n, vec_all(-0.693359375f), x);
    r = vec_fma(n, vec_all(2.12194440e-4f), r);
    vec p = vec_fma(vec_all(1.9875691500e-4f), r, vec_all(1.3981999507e-3f));
    p = vec_fma(p, r, vec_all(8.3334519073e-3f));
    p = vec_fma(p, r, vec_all(4.1665795894e-2f));
    p = vec_fma(p, r, vec_all(1.6666665459e-1f));
    p = vec_fma(p, r, vec_all(5.0000001201e-1f));
    p = vec_fma(p, r * r, r) + 1.0f;
    vec_int power = (vec_bits(shifted) + 127) << 23; /* magic's low bits hold n; garbage below -126 is zeroed */
    return vec_zero_below(p * (vec)power, x, vec_all(-87.33f));
}

/* The same for every x: at most e^88.37, never infinite. */
INLINE vec vec_exp(vec x) {
    return vec_exp_unbounded(vec_min(vec_all(88.37f), x));
}

INLINE vec vec_silu(vec x) {
    return x / (1.0f + vec_exp(-x));
}

/* Two polynomials, below and above 475/512; the upper one is 1 - e^r. */
INLINE vec vec_erf(vec x) {
    vec_int sign = vec_bits(x) & INT32_MIN;
    vec t = (vec)(vec_bits(x) ^ sign), s = x * x;
    vec high = vec_fma(vec_all(-1.72853470e-5f), t, vec_all(3.83197126e-4f));
    vec u = vec_fma(vec_all(-3.88396438e-3f), t, vec_all(2.42546219e-2f));
    high = vec_fma(high, s, u);
    high = vec_fma(high, t, vec_all(-1.06777877e-1f));
    high = vec_fma(high, t, vec_all(-6.34846687e-1f));
    high = vec_fma(high, t, vec_all(-1.28717512e-1f));
    high = vec_fma(high, t, -t);
    high = 1.0f - vec_exp_unbounded(high);
    high = (vec)(vec_bits(high) | sign);
    vec low = vec_fma(vec_all(-5.96761703e-4f), s, vec_all(4.99119423e-3f));
    low = vec_fma(low, s, vec_all(-2.67681349e-2f));
    low = vec_fma(low, s, vec_all(1.12819925e-1f));
    low = vec_fma(low, s, vec_all(-3.76125336e-1f));
    low = vec_fma(low, s, vec_all(1.28379166e-1f));
    low = vec_fma(low, x, x);
    return vec_select(t > vec_all(0.927734375f), high, low);
}

INLINE vec vec_gelu(vec x) {
    vec half = x * 0.5f;
    return vec_fma(half, vec_erf(x * 0.707106781186547524f), half);
}

INLINE vec vec_activate(vec x, enum activation activation) {
    switch (activation) {
    case ACTIVATION_SILU:
        return vec_silu(x);
    case ACTIVATION_GELU:
        return vec_gelu(x);
    case ACTIVATION_GELU_QUICK:
        return x / (1.0f + vec_exp(x * -1.702f));
    case ACTIVATION_GEGLU: /* takes two: the epilogue's own business */
    case ACTIVATION_NONE:
        break;
    }
    return x;
}

#endif

/*
 * cpu_math.h - exp, SiLU and GELU on vectors: the same bits in every lane, NaN in gives NaN out.
 *
 * Errors: tests/pipeline/op_test.c measures them.
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

/* x Phi(x) (the erf form) as max(x, 0) - |x| Q(|x|), where Q, the normal distribution's upper tail, is e to a
 * polynomial fitted to its logarithm on 0..7, weighted so that the error of Q is at most 1.1 * 2^-24. Beyond 7 it only
 * falls. */
INLINE vec vec_gelu(vec x) {
    vec t = (vec)(vec_bits(x) & INT32_MAX);
    vec r = vec_fma(vec_all(-7.03356662e-9f), t, vec_all(2.53571443e-7f));
    r = vec_fma(r, t, vec_all(-3.8439548e-6f));
    r = vec_fma(r, t, vec_all(3.06750117e-5f));
    r = vec_fma(r, t, vec_all(-1.16229545e-4f));
    r = vec_fma(r, t, vec_all(-1.60450072e-4f));
    r = vec_fma(r, t, vec_all(5.00734989e-3f));
    r = vec_fma(r, t, vec_all(-3.64743769e-2f));
    r = vec_fma(r, t, vec_all(-3.18268836e-1f));
    r = vec_fma(r, t, vec_all(-7.97888994e-1f));
    r = vec_fma(r, t, vec_all(-6.93147123e-1f));
    return vec_fma(-t, vec_exp_unbounded(r), vec_max(vec_all(0.0f), x));
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

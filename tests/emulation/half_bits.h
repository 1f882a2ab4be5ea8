/* half_bits.h - f32 to f16 and bf16 and back by bits, round to nearest even, for compilers that lack the types. */
#ifndef TESTS_EMULATION_HALF_BITS_H
#define TESTS_EMULATION_HALF_BITS_H

#include <stdint.h>
#include <string.h>

/* A type of 16 bits as CUDA's header declares it, with its two conversions. */
#define EMULATED_HALF(type, widen, narrow, float_of, of_float) \
    struct type {                                              \
        uint16_t bits;                                         \
    };                                                         \
    static inline float widen(type x) {                        \
        return float_of(x.bits);                               \
    }                                                          \
    static inline type narrow(float x) {                       \
        return type{ of_float(x) };                            \
    }

static inline uint32_t bits_of_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float float_of_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) {
        return float_of_bits(sign | 0x7f800000 | fraction << 13);
    }
    if (exponent == 0) {
        float small = (float)fraction * 0x1p-24f;
        return sign ? -small : small;
    }
    return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

static inline uint16_t half_of_float(float x) {
    uint32_t bits = bits_of_float(x), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return (uint16_t)(sign | 0x7e00);
    }
    if (magnitude >= 0x477ff000) { /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { /* below 2^-14: the sum's last bit is worth 2^-24 */
        return (uint16_t)(sign | (bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000));
    }
    return (uint16_t)(sign | ((magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13));
}

static inline float float_of_bfloat(uint16_t bits) {
    return float_of_bits((uint32_t)bits << 16);
}

static inline uint16_t bfloat_of_float(float x) {
    uint32_t bits = bits_of_float(x);
    return (uint16_t)(x != x ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#endif

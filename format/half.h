#pragma once
// Scalar conversions between float and the two 16-bit formats. All functions are static on purpose: sources
// compiled for one instruction set may include this header, and their copy must never be the one the linker
// keeps for everybody.
#include <cstdint>

namespace ingot {

// The built-in, because std::bit_cast is an inline function like any other.
[[maybe_unused]] static inline uint32_t bits_of(float value) {
    return __builtin_bit_cast(uint32_t, value);
}
[[maybe_unused]] static inline float float_of(uint32_t bits) {
    return __builtin_bit_cast(float, bits);
}

/// IEEE binary16: 1 sign, 5 exponent, 10 fraction bits. Exact.
[[maybe_unused]] static inline float half_to_float(uint16_t half) {
    // Without branches, so that compilers vectorize loops over it.
    const uint32_t sign = uint32_t(half & 0x8000) << 16;
    const uint32_t magnitude = half & 0x7fff;
    const uint32_t is_subnormal = 0u - uint32_t(magnitude < 0x0400);  // or zero
    const uint32_t is_special = 0u - uint32_t(magnitude >= 0x7c00);   // infinity or NaN
    // The exponent moves from a bias of 15 to one of 127, and infinity's from 31 to 255.
    const uint32_t normal = (magnitude << 13) + (112u << 23) + (is_special & (112u << 23));
    // Subnormals lack the leading one of 2^-14: read them as if they had it, and take it away.
    const uint32_t subnormal = bits_of(float_of((magnitude << 13) + (113u << 23)) - 0x1p-14f);
    return float_of(sign | (subnormal & is_subnormal) | (normal & ~is_subnormal));
}

/// Round to nearest, ties to even; overflow becomes infinity, NaN stays a (quiet) NaN.
[[maybe_unused]] static inline uint16_t float_to_half(float value) {
    const uint32_t bits = bits_of(value);
    const uint16_t sign = uint16_t((bits >> 16) & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00 | ((magnitude >> 13) & 0x1ff));
    if (magnitude >= 0x477ff000) return uint16_t(sign | 0x7c00);  // rounds to 65536 or above
    if (magnitude < 0x38800000) {                                 // below 2^-14: subnormal or zero
        // Adding 0.5 places the unit of the last half subnormal, 2^-24, at the float's last bit.
        const float shifted = float_of(magnitude) + 0.5f;
        return uint16_t(sign | uint16_t(bits_of(shifted) - 0x3f000000u));
    }
    const uint32_t odd = (magnitude >> 13) & 1;
    return uint16_t(sign | ((magnitude - 0x38000000u + 0xfff + odd) >> 13));
}

/// bfloat16 is the upper half of a float. Exact.
[[maybe_unused]] static inline float bf16_to_float(uint16_t bf16) {
    return float_of(uint32_t(bf16) << 16);
}

/// Round to nearest, ties to even; NaN stays a (quiet) NaN.
[[maybe_unused]] static inline uint16_t float_to_bf16(float value) {
    const uint32_t bits = bits_of(value);
    if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t((bits >> 16) | 0x40);
    return uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace ingot

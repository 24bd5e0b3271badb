#pragma once
#include <arm_neon.h>

namespace ingot::runtime::cpu::neon {

/// exp of 4 floats, relative error below 2^-22; 0 below -87.3, at most exp(88).
/// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; exp(r) by its Taylor polynomial of degree 7,
/// whose remainder there is below 2^-27. ln 2 is subtracted in two parts, the first exact in few bits.
[[maybe_unused]] static inline float32x4_t exp(float32x4_t x) {
    const float32x4_t lowest = vdupq_n_f32(-87.3f);
    const uint32x4_t in_range = vcgeq_f32(x, lowest);
    x = vmaxq_f32(vminq_f32(x, vdupq_n_f32(88.0f)), lowest);
    const float32x4_t n = vrndnq_f32(vmulq_f32(x, vdupq_n_f32(1.44269504f)));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0x1.62ep-1f));
    r = vfmsq_f32(r, n, vdupq_n_f32(0x1.0bfbe8p-15f));
    float32x4_t p = vdupq_n_f32(1.0f / 5040);
    constexpr float kCoefficients[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
    for (const float coefficient : kCoefficients) {
        p = vfmaq_f32(vdupq_n_f32(coefficient), p, r);
    }
    // n lies in -126 … 127: 2^n is a normal float.
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    const float32x4_t power = vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23));
    return vreinterpretq_f32_u32(in_range & vreinterpretq_u32_f32(vmulq_f32(p, power)));
}

/// 2^x of 4 floats, -126 ≤ x ≤ 0; relative error below 2^-22.5. 2^x = 2^floor(x) * 2^r, 2^r on [0, 1) by a
/// polynomial of degree 5 with the least largest relative error (2^-23.7).
[[maybe_unused]] static inline float32x4_t exp2(float32x4_t x) {
    const float32x4_t n = vrndmq_f32(x);
    const float32x4_t r = vsubq_f32(x, n);
    float32x4_t p = vdupq_n_f32(0x1.ec320ap-10f);
    constexpr float kCoefficients[] = {0x1.26900ep-7f, 0x1.c95446p-5f, 0x1.ebd5a8p-3f, 0x1.62e4f6p-1f,
                                       0x1.fffffep-1f};
    for (const float coefficient : kCoefficients) {
        p = vfmaq_f32(vdupq_n_f32(coefficient), p, r);
    }
    const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}

/// cap * tanh(x / cap) of 4 floats, absolute error below cap * 2^-22. tanh(t) = 1 - 2 / (exp(2t) + 1).
[[maybe_unused]] static inline float32x4_t capped(float32x4_t x, float cap) {
    const float32x4_t one = vdupq_n_f32(1), e = exp(vmulq_n_f32(x, 2 / cap));
    return vmulq_n_f32(vsubq_f32(one, vdivq_f32(vdupq_n_f32(2), vaddq_f32(e, one))), cap);
}

}  // namespace ingot::runtime::cpu::neon

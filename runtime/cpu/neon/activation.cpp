// The activations of feed-forward parts, and the soft cap of logits.
#include "runtime/activation.h"

#include "runtime/cpu/neon/exp.h"
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

INGOT_INLINE float32x4_t all(float x) {
    return vdupq_n_f32(x);
}

// 1 + exp(-x)
INGOT_INLINE float32x4_t one_plus_exp(float32x4_t x) {
    return vaddq_f32(all(1), exp(vnegq_f32(x)));
}

// 1 / (1 + exp(-x))
INGOT_INLINE float32x4_t sigmoid(float32x4_t x) {
    return vdivq_f32(all(1), one_plus_exp(x));
}

// x / (1 + exp(-x))
INGOT_INLINE float32x4_t silu(float32x4_t x) {
    return vdivq_f32(x, one_plus_exp(x));
}

// (1 + tanh u) / 2 = sigmoid(2u): nothing cancels.
INGOT_INLINE float32x4_t gelu_tanh(float32x4_t x) {
    const float32x4_t cubic = vfmaq_f32(x, vmulq_f32(all(0.044715f), vmulq_f32(x, x)), x);
    return vmulq_f32(x, sigmoid(vmulq_f32(all(2 * 0.79788456f), cubic)));
}

// erf by Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
INGOT_INLINE float32x4_t gelu(float32x4_t x) {
    const float32x4_t z = vabsq_f32(vmulq_f32(x, all(0.70710678f)));
    const float32x4_t t = vdivq_f32(all(1), vfmaq_f32(all(1), z, all(0.3275911f)));
    float32x4_t p = all(1.061405429f);
    constexpr float kCoefficients[] = {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
    for (const float coefficient : kCoefficients) {
        p = vfmaq_f32(all(coefficient), p, t);
    }
    const float32x4_t tail = vmulq_f32(vmulq_f32(p, t), exp(vnegq_f32(vmulq_f32(z, z))));
    // 1 + erf(z) = 2 - tail, 1 + erf(-z) = tail
    const float32x4_t one_plus_erf = vbslq_f32(vcltq_f32(x, all(0)), tail, vsubq_f32(all(2), tail));
    return vmulq_f32(vmulq_f32(x, all(0.5f)), one_plus_erf);
}

// y = curve(gate) * partner(up)
template <typename Curve, typename Partner>
INGOT_INLINE void multiply(const float* gate, const float* up, float* y, int64_t size, const Curve& curve,
                           const Partner& partner) {
    for_each_4(size, [&](int64_t i, int64_t n) {
        const float32x4_t v = curve(load_floats(gate + i, n));
        store_floats(y + i, up ? vmulq_f32(v, partner(load_floats(up + i, n))) : v, n);
    });
}
template <typename Curve>
INGOT_INLINE void multiply(const float* gate, const float* up, float* y, int64_t size, const Curve& curve) {
    multiply(gate, up, y, size, curve, [](float32x4_t u) { return u; });
}

}  // namespace

void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n) {
    switch (activation) {
        case Activation::Silu:
            return multiply(gate, up, y, n, [](float32x4_t x) { return silu(x); });
        case Activation::Gelu:
            return multiply(gate, up, y, n, [](float32x4_t x) { return gelu(x); });
        case Activation::GeluTanh:
            return multiply(gate, up, y, n, [](float32x4_t x) { return gelu_tanh(x); });
        case Activation::Relu:
            return multiply(gate, up, y, n, [](float32x4_t x) { return vmaxq_f32(x, all(0)); });
        case Activation::ReluSquared:
            return multiply(gate, up, y, n, [](float32x4_t x) {
                const float32x4_t positive = vmaxq_f32(x, all(0));
                return vmulq_f32(positive, positive);
            });
        case Activation::Sigmoid:
            return multiply(gate, up, y, n, [](float32x4_t x) { return sigmoid(x); });
        case Activation::SiluClamped:
            return multiply(
                gate, up, y, n,
                [](float32x4_t x) {
                    const float32x4_t g = vminq_f32(x, all(7));
                    return vmulq_f32(g, sigmoid(vmulq_f32(g, all(1.702f))));
                },
                [](float32x4_t u) { return vaddq_f32(vmaxq_f32(vminq_f32(u, all(7)), all(-7)), all(1)); });
    }
}

void soft_cap(float* x, float cap, int64_t size) {
    for_each_4(size,
               [&](int64_t i, int64_t n) { store_floats(x + i, capped(load_floats(x + i, n), cap), n); });
}

}  // namespace ingot::runtime::cpu::neon

// The activations of feed-forward parts, and the soft cap of logits.
#include "runtime/activation.h"

#include "runtime/cpu/avx2/avx2.h"
#include "runtime/cpu/avx2/exp.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

INGOT_INLINE __m256 all(float x) {
    return _mm256_set1_ps(x);
}

// 1 / (1 + exp(-x))
INGOT_INLINE __m256 sigmoid(__m256 x) {
    return _mm256_div_ps(all(1), _mm256_add_ps(all(1), exp(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

// x / (1 + exp(-x))
INGOT_INLINE __m256 silu(__m256 x) {
    return _mm256_div_ps(x, _mm256_add_ps(all(1), exp(_mm256_sub_ps(_mm256_setzero_ps(), x))));
}

// (1 + tanh u) / 2 = sigmoid(2u): nothing cancels.
INGOT_INLINE __m256 gelu_tanh(__m256 x) {
    const __m256 cubic = _mm256_fmadd_ps(_mm256_mul_ps(all(0.044715f), _mm256_mul_ps(x, x)), x, x);
    return _mm256_mul_ps(x, sigmoid(_mm256_mul_ps(all(2 * 0.79788456f), cubic)));
}

// erf by Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
INGOT_INLINE __m256 gelu(__m256 x) {
    const __m256 z = _mm256_andnot_ps(all(-0.0f), _mm256_mul_ps(x, all(0.70710678f)));
    const __m256 t = _mm256_div_ps(all(1), _mm256_fmadd_ps(z, all(0.3275911f), all(1)));
    __m256 p = all(1.061405429f);
    p = _mm256_fmadd_ps(p, t, all(-1.453152027f));
    p = _mm256_fmadd_ps(p, t, all(1.421413741f));
    p = _mm256_fmadd_ps(p, t, all(-0.284496736f));
    p = _mm256_fmadd_ps(p, t, all(0.254829592f));
    const __m256 tail =
        _mm256_mul_ps(_mm256_mul_ps(p, t), exp(_mm256_sub_ps(_mm256_setzero_ps(), _mm256_mul_ps(z, z))));
    // 1 + erf(z) = 2 - tail, 1 + erf(-z) = tail
    const __m256 one_plus_erf = _mm256_blendv_ps(_mm256_sub_ps(all(2), tail), tail, x);
    return _mm256_mul_ps(_mm256_mul_ps(x, all(0.5f)), one_plus_erf);
}

// y = curve(gate) * partner(up)
template <typename Curve, typename Partner>
INGOT_INLINE void multiply(const float* gate, const float* up, float* y, int64_t n, const Curve& curve,
                           const Partner& partner) {
    for_each_8(n, [&](const auto& memory, int64_t i) {
        const __m256 v = curve(memory.load(gate + i));
        memory.store(y + i, up ? _mm256_mul_ps(v, partner(memory.load(up + i))) : v);
    });
}
template <typename Curve>
INGOT_INLINE void multiply(const float* gate, const float* up, float* y, int64_t n, const Curve& curve) {
    multiply(gate, up, y, n, curve, [](__m256 u) { return u; });
}

}  // namespace

void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n) {
    switch (activation) {
        case Activation::Silu:
            return multiply(gate, up, y, n, [](__m256 x) { return silu(x); });
        case Activation::Gelu:
            return multiply(gate, up, y, n, [](__m256 x) { return gelu(x); });
        case Activation::GeluTanh:
            return multiply(gate, up, y, n, [](__m256 x) { return gelu_tanh(x); });
        case Activation::Relu:
            return multiply(gate, up, y, n, [](__m256 x) { return _mm256_max_ps(x, all(0)); });
        case Activation::ReluSquared:
            return multiply(gate, up, y, n, [](__m256 x) {
                const __m256 positive = _mm256_max_ps(x, all(0));
                return _mm256_mul_ps(positive, positive);
            });
        case Activation::Sigmoid:
            return multiply(gate, up, y, n, [](__m256 x) { return sigmoid(x); });
        case Activation::SiluClamped:
            return multiply(
                gate, up, y, n,
                [](__m256 x) {
                    const __m256 g = _mm256_min_ps(x, all(7));
                    return _mm256_mul_ps(g, sigmoid(_mm256_mul_ps(g, all(1.702f))));
                },
                [](__m256 u) {
                    return _mm256_add_ps(_mm256_max_ps(_mm256_min_ps(u, all(7)), all(-7)), all(1));
                });
    }
}

void soft_cap(float* x, float cap, int64_t n) {
    for_each_8(n,
               [&](const auto& memory, int64_t i) { memory.store(x + i, capped(memory.load(x + i), cap)); });
}

}  // namespace ingot::runtime::cpu::avx2

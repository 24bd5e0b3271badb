// The activations of feed-forward parts, and the soft cap of logits.
#include "runtime/activation.h"

#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/avx512/exp.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

INGOT_INLINE __m512 all(float x) {
    return _mm512_set1_ps(x);
}

// 1 / (1 + exp(-x))
INGOT_INLINE __m512 sigmoid(__m512 x) {
    return _mm512_div_ps(all(1), _mm512_add_ps(all(1), exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// x / (1 + exp(-x))
INGOT_INLINE __m512 silu(__m512 x) {
    return _mm512_div_ps(x, _mm512_add_ps(all(1), exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

// (1 + tanh u) / 2 = sigmoid(2u): nothing cancels.
INGOT_INLINE __m512 gelu_tanh(__m512 x) {
    const __m512 cubic = _mm512_fmadd_ps(_mm512_mul_ps(all(0.044715f), _mm512_mul_ps(x, x)), x, x);
    return _mm512_mul_ps(x, sigmoid(_mm512_mul_ps(all(2 * 0.79788456f), cubic)));
}

// erf by Abramowitz and Stegun 7.1.26: absolute error below 1.5e-7.
INGOT_INLINE __m512 gelu(__m512 x) {
    const __m512 z = _mm512_abs_ps(_mm512_mul_ps(x, all(0.70710678f)));
    const __m512 t = _mm512_div_ps(all(1), _mm512_fmadd_ps(z, all(0.3275911f), all(1)));
    __m512 p = all(1.061405429f);
    p = _mm512_fmadd_ps(p, t, all(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, all(1.421413741f));
    p = _mm512_fmadd_ps(p, t, all(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, all(0.254829592f));
    const __m512 tail =
        _mm512_mul_ps(_mm512_mul_ps(p, t), exp(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_mul_ps(z, z))));
    // 1 + erf(z) = 2 - tail, 1 + erf(-z) = tail
    const __mmask16 negative = _mm512_cmp_ps_mask(x, all(0), _CMP_LT_OQ);
    const __m512 one_plus_erf = _mm512_mask_mov_ps(_mm512_sub_ps(all(2), tail), negative, tail);
    return _mm512_mul_ps(_mm512_mul_ps(x, all(0.5f)), one_plus_erf);
}

// y = curve(gate) * partner(up)
template <typename Curve, typename Partner>
INGOT_INLINE void multiply(const float* gate, const float* up, float* y, int64_t n, const Curve& curve,
                           const Partner& partner) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        __m512 v = curve(_mm512_maskz_loadu_ps(mask, gate + i));
        if (up) v = _mm512_mul_ps(v, partner(_mm512_maskz_loadu_ps(mask, up + i)));
        _mm512_mask_storeu_ps(y + i, mask, v);
    }
}
template <typename Curve>
INGOT_INLINE void multiply(const float* gate, const float* up, float* y, int64_t n, const Curve& curve) {
    multiply(gate, up, y, n, curve, [](__m512 u) { return u; });
}

}  // namespace

void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n) {
    switch (activation) {
        case Activation::Silu:
            return multiply(gate, up, y, n, [](__m512 x) { return silu(x); });
        case Activation::Gelu:
            return multiply(gate, up, y, n, [](__m512 x) { return gelu(x); });
        case Activation::GeluTanh:
            return multiply(gate, up, y, n, [](__m512 x) { return gelu_tanh(x); });
        case Activation::Relu:
            return multiply(gate, up, y, n, [](__m512 x) { return _mm512_max_ps(x, all(0)); });
        case Activation::ReluSquared:
            return multiply(gate, up, y, n, [](__m512 x) {
                const __m512 positive = _mm512_max_ps(x, all(0));
                return _mm512_mul_ps(positive, positive);
            });
        case Activation::Sigmoid:
            return multiply(gate, up, y, n, [](__m512 x) { return sigmoid(x); });
        case Activation::SiluClamped:
            return multiply(
                gate, up, y, n,
                [](__m512 x) {
                    const __m512 g = _mm512_min_ps(x, all(7));
                    return _mm512_mul_ps(g, sigmoid(_mm512_mul_ps(g, all(1.702f))));
                },
                [](__m512 u) {
                    return _mm512_add_ps(_mm512_max_ps(_mm512_min_ps(u, all(7)), all(-7)), all(1));
                });
    }
}

void soft_cap(float* x, float cap, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        _mm512_mask_storeu_ps(x + i, mask, capped(_mm512_maskz_loadu_ps(mask, x + i), cap));
    }
}

}  // namespace ingot::runtime::cpu::avx512

#pragma once
#include <immintrin.h>

namespace ingot::runtime::cpu::avx512 {

/// exp of 16 floats, relative error below 2^-22.5 (measured by tests/runtime/kernels_vector.cpp through silu
/// and attention); 0 below about -104, infinity above about 88.7. exp(x) = 2^n * exp(r), n = round(x / ln 2),
/// |r| <= ln 2 / 2; exp(r) by its Taylor polynomial of degree 7, whose remainder there is below 2^-27. ln 2
/// is subtracted in two parts, the first exact in few bits.
[[maybe_unused]] static inline __m512 exp(__m512 x) {
    x = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(200.0f)), _mm512_set1_ps(-200.0f));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62ep-1f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.0bfbe8p-15f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/// 2^x of the lanes in `mask`, zeros elsewhere; relative error below 2^-22.5. 2^x = 2^floor(x) * 2^r, 2^r on
/// [0, 1) by a polynomial of degree 5 with the least largest relative error (2^-23.7).
[[maybe_unused]] static inline __m512 exp2(__mmask16 mask, __m512 x) {
    const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF);
    __m512 p = _mm512_set1_ps(0x1.ec320ap-10f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.26900ep-7f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.c95446p-5f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.ebd5a8p-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.62e4f6p-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0x1.fffffep-1f));
    return _mm512_maskz_scalef_ps(mask, p, x);
}

/// cap * tanh(x / cap) of 16 floats, absolute error below cap * 2^-22. tanh(t) = 1 - 2 / (exp(2t) + 1).
[[maybe_unused]] static inline __m512 capped(__m512 x, float cap) {
    const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
    const __m512 e = exp(_mm512_mul_ps(x, _mm512_set1_ps(2 / cap)));
    const __m512 tanh = _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(e, one)));
    return _mm512_mul_ps(tanh, _mm512_set1_ps(cap));
}

}  // namespace ingot::runtime::cpu::avx512

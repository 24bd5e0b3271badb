#pragma once
#include <immintrin.h>

namespace ingot::runtime::cpu::avx2 {

/// exp of 8 floats, relative error below 2^-22; 0 below -87.3, at most exp(88).
/// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; exp(r) by its Taylor polynomial of degree 7,
/// whose remainder there is below 2^-27. ln 2 is subtracted in two parts, the first exact in few bits.
[[maybe_unused]] static inline __m256 exp(__m256 x) {
    const __m256 lowest = _mm256_set1_ps(-87.3f);
    const __m256 in_range = _mm256_cmp_ps(x, lowest, _CMP_GE_OQ);
    x = _mm256_max_ps(_mm256_min_ps(x, _mm256_set1_ps(88.0f)), lowest);
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.62ep-1f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0x1.0bfbe8p-15f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
    // n lies in -126 … 127: 2^n is a normal float.
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    const __m256 power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
    return _mm256_and_ps(in_range, _mm256_mul_ps(p, power));
}

/// 2^x of 8 floats, -126 ≤ x ≤ 0; relative error below 2^-22.5. 2^x = 2^floor(x) * 2^r, 2^r on [0, 1) by a
/// polynomial of degree 5 with the least largest relative error (2^-23.7).
[[maybe_unused]] static inline __m256 exp2(__m256 x) {
    const __m256 n = _mm256_floor_ps(x);
    const __m256 r = _mm256_sub_ps(x, n);
    __m256 p = _mm256_set1_ps(0x1.ec320ap-10f);
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.26900ep-7f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.c95446p-5f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.ebd5a8p-3f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.62e4f6p-1f));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0x1.fffffep-1f));
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

/// cap * tanh(x / cap) of 8 floats, absolute error below cap * 2^-22. tanh(t) = 1 - 2 / (exp(2t) + 1).
[[maybe_unused]] static inline __m256 capped(__m256 x, float cap) {
    const __m256 one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
    const __m256 e = exp(_mm256_mul_ps(x, _mm256_set1_ps(2 / cap)));
    const __m256 tanh = _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(e, one)));
    return _mm256_mul_ps(tanh, _mm256_set1_ps(cap));
}

}  // namespace ingot::runtime::cpu::avx2

#pragma once
// The layouts that are floats: F32, F16, BF16, widened to 16 lanes of float.
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

// Each loads 16 weights, or those that the mask names and zeros, from a row that may not be aligned.

struct F32 {
    static constexpr int64_t kBytes = 4;
    INGOT_INLINE __m512 load(const uint8_t* row, int64_t i) { return _mm512_loadu_ps(row + 4 * i); }
    INGOT_INLINE __m512 load(__mmask16 mask, const uint8_t* row, int64_t i) {
        return _mm512_maskz_loadu_ps(mask, row + 4 * i);
    }
};

struct F16 {
    static constexpr int64_t kBytes = 2;
    INGOT_INLINE __m512 load(const uint8_t* row, int64_t i) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 2 * i)));
    }
    INGOT_INLINE __m512 load(__mmask16 mask, const uint8_t* row, int64_t i) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, row + 2 * i));
    }
};

struct BF16 {
    static constexpr int64_t kBytes = 2;
    INGOT_INLINE __m512 widen(__m256i halves) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    }
    INGOT_INLINE __m512 load(const uint8_t* row, int64_t i) {
        return widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(row + 2 * i)));
    }
    INGOT_INLINE __m512 load(__mmask16 mask, const uint8_t* row, int64_t i) {
        return widen(_mm256_maskz_loadu_epi16(mask, row + 2 * i));
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

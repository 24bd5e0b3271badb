#pragma once
// Weights that are floats. Each loads 8 of them, or n < 8 and zeros, from a row that may not be aligned.
#include "runtime/cpu/avx2/avx2.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

struct F32 {
    static constexpr int64_t kBytes = 4;
    INGOT_INLINE __m256 load(const uint8_t* row, int64_t i) {
        return _mm256_loadu_ps(reinterpret_cast<const float*>(row + 4 * i));
    }
    INGOT_INLINE __m256 load(const uint8_t* row, int64_t i, int64_t n) {
        return _mm256_maskload_ps(reinterpret_cast<const float*>(row + 4 * i), lanes(n));
    }
};

struct F16 {
    static constexpr int64_t kBytes = 2;
    INGOT_INLINE __m256 load(const uint8_t* row, int64_t i) { return load_half(row + 2 * i); }
    INGOT_INLINE __m256 load(const uint8_t* row, int64_t i, int64_t n) { return load_half(row + 2 * i, n); }
};

struct BF16 {
    static constexpr int64_t kBytes = 2;
    INGOT_INLINE __m256 load(const uint8_t* row, int64_t i) {
        const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + 2 * i));
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    }
    INGOT_INLINE __m256 load(const uint8_t* row, int64_t i, int64_t n) {
        alignas(16) uint8_t bytes[16] = {};
        __builtin_memcpy(bytes, row + 2 * i, size_t(n) * 2);
        return load(bytes, 0);
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

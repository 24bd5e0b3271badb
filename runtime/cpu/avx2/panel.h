#pragma once
// What the panels of AVX2 share; see runtime/cpu/panels.h. A tile of integers has 2 × 4 sums, 2 vectors of
// weights and one of activations: of 16 registers these are 11, and the products need some. A tile of floats
// has 2 × 6 sums.
#include "runtime/cpu/avx2/avx2.h"
#include "runtime/cpu/panels.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

constexpr int kPanelLanes = 8;                           // rows of a vector
constexpr int kPanelVectors = 2;                         // of rows
constexpr int kPanelRows = kPanelVectors * kPanelLanes;  // 16

/// Sums of the outputs of a panel's rows and the tokens of a tile.
template <int kTokens>
struct TileSums {
    __m256 of[kPanelVectors][kTokens];
};

template <int kTokens>
INGOT_INLINE void clear(TileSums<kTokens>& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTokens; ++t) sums.of[v][t] = _mm256_setzero_ps();
    }
}

/// 8 vectors of 8 numbers -> the 8 vectors of their first, second … numbers.
INGOT_INLINE void transpose(__m256i (&rows)[8]) {
    __m256i pairs[8], fours[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        rows[i] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
}

INGOT_INLINE void transpose(__m256 (&rows)[8]) {
    __m256i bits[8];
    for (int i = 0; i < 8; ++i) bits[i] = _mm256_castps_si256(rows[i]);
    transpose(bits);
    for (int i = 0; i < 8; ++i) rows[i] = _mm256_castsi256_ps(bits[i]);
}

/// Four bytes, or two numbers of 16 bits, in all lanes.
INGOT_INLINE __m256i spread(const void* four_bytes) {
    int32_t value;
    __builtin_memcpy(&value, four_bytes, sizeof value);
    return _mm256_set1_epi32(value);
}

/// Keeps what is in memory there: the registers are for the integer sums.
INGOT_INLINE void leave_in_memory(const void* sums) {
    asm volatile("" : : "r"(sums) : "memory");
}

template <int kTokens>
INGOT_INLINE void store_tile(const MatmulArguments& m, int64_t row, int64_t token,
                             const TileSums<kTokens>& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        const int64_t n_rows = m.n_rows - row - v * kPanelLanes;
        if (n_rows <= 0) break;
        const __m256i mask = lanes(n_rows < 8 ? n_rows : 8);
        for (int t = 0; t < kTokens && token + t < m.n_tokens; ++t) {
            _mm256_maskstore_ps(m.output + (token + t) * m.output_stride + row + v * kPanelLanes, mask,
                                sums.of[v][t]);
        }
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

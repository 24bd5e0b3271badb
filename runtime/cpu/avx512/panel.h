#pragma once
// What the panels of AVX-512 share; see runtime/cpu/panels.h.
#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/panels.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kPanelLanes = 16;                          // rows of a vector
constexpr int kPanelVectors = 2;                         // of rows
constexpr int kPanelRows = kPanelVectors * kPanelLanes;  // 32

/// Sums of the outputs of a panel's rows and the tokens of a tile.
template <int kTokens>
struct TileSums {
    __m512 of[kPanelVectors][kTokens];
};

template <int kTokens>
INGOT_INLINE void clear(TileSums<kTokens>& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTokens; ++t) sums.of[v][t] = _mm512_setzero_ps();
    }
}

/// 16 vectors of 16 numbers -> the 16 vectors of their first, second … numbers.
INGOT_INLINE void transpose(__m512i (&rows)[16]) {
    __m512i pairs[16], fours[16], eights[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 16; i += 8) {
        for (int j = 0; j < 4; ++j) {
            eights[i + j] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0x88);
            eights[i + j + 4] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0xdd);
        }
    }
    for (int j = 0; j < 8; ++j) {
        rows[j] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0x88);
        rows[j + 8] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0xdd);
    }
}

INGOT_INLINE void transpose(__m512 (&rows)[16]) {
    __m512i bits[16];
    for (int i = 0; i < 16; ++i) bits[i] = _mm512_castps_si512(rows[i]);
    transpose(bits);
    for (int i = 0; i < 16; ++i) rows[i] = _mm512_castsi512_ps(bits[i]);
}

template <int kTokens>
INGOT_INLINE void store_tile(const MatmulArguments& m, int64_t row, int64_t token,
                             const TileSums<kTokens>& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        const int64_t n_rows = m.n_rows - row - v * kPanelLanes;
        if (n_rows <= 0) break;
        const __mmask16 mask = lanes(n_rows);
        for (int t = 0; t < kTokens && token + t < m.n_tokens; ++t) {
            _mm512_mask_storeu_ps(m.output + (token + t) * m.output_stride + row + v * kPanelLanes, mask,
                                  sums.of[v][t]);
        }
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

#pragma once
// Products with many tokens, as BLAS does them: weights are unpacked once into a panel whose vectors hold one
// step of 16 rows, so that a lane is an output and nothing is added up across lanes; the panel stays in the
// first-level cache while all tokens pass by, kTileTokens at a time.
//
// A step is 4 inputs: VPDPBUSD multiplies 4 bytes of each of 16 rows with 4 bytes of one token, broadcast,
// and adds the products to 16 sums of 32 bits. The activation is its unsigned operand, as x + 128, the weight
// its signed one:
//     Σ w x  =  Σ w (x + 128)  +  start,   start = -128 Σ w,
// where `start` is known when the panel is made.
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kPanelLanes = 16;                          // rows of a vector
constexpr int kPanelVectors = 2;                         // of rows
constexpr int kPanelRows = kPanelVectors * kPanelLanes;  // 32
constexpr int kPanelInputs = 512;                        // what fits into the first-level cache

/// Sums of the outputs of a panel's rows and a tile's tokens.
using TileSums = __m512[kPanelVectors][kTileTokens];

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
        const int to = j < 4 ? j : j + 0;
        rows[to] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0x88);
        rows[to + 8] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0xdd);
    }
}

INGOT_INLINE void transpose(__m512 (&rows)[16]) {
    __m512i bits[16];
    for (int i = 0; i < 16; ++i) bits[i] = _mm512_castps_si512(rows[i]);
    transpose(bits);
    for (int i = 0; i < 16; ++i) rows[i] = _mm512_castsi512_ps(bits[i]);
}

/// -128 times the sums of the signed bytes of n steps.
INGOT_INLINE __m512i start_of(const __m512i* steps, int n) {
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < n; ++i) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(1), steps[i]);
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7));
}

/// Four bytes, or one float, in all lanes.
INGOT_INLINE __m512i spread(const void* four_bytes) {
    int32_t value;
    __builtin_memcpy(&value, four_bytes, sizeof value);
    return _mm512_set1_epi32(value);
}

/// Adds `n_steps` steps of a panel and a tile to integer sums.
template <int n_steps>
INGOT_INLINE void multiply_steps(const __m512i* const (&weights)[kPanelVectors],
                                 const uint8_t (*x)[kTileTokens][4],
                                 __m512i (&sums)[kPanelVectors][kTileTokens]) {
#pragma GCC unroll 8
    for (int step = 0; step < n_steps; ++step) {
        const __m512i first = weights[0][step], second = weights[1][step];
        for (int t = 0; t < kTileTokens; ++t) {
            const __m512i activations = spread(x[step][t]);
            sums[0][t] = _mm512_dpbusd_epi32(sums[0][t], activations, first);
            sums[1][t] = _mm512_dpbusd_epi32(sums[1][t], activations, second);
        }
    }
}

/// Writes the sums to the outputs, or adds them there.
INGOT_INLINE void store_tile(const MatmulArguments& m, int64_t row, int64_t token, bool add,
                             const TileSums& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        const int64_t n_rows = m.n_rows - row - v * kPanelLanes;
        if (n_rows <= 0) break;
        const __mmask16 mask = lanes(n_rows);
        for (int t = 0; t < kTileTokens && token + t < m.n_tokens; ++t) {
            float* to = m.output + (token + t) * m.output_stride + row + v * kPanelLanes;
            __m512 value = sums[v][t];
            if (add) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(mask, to));
            _mm512_mask_storeu_ps(to, mask, value);
        }
    }
}

/// The row of a panel's lane: beyond the last row, the last one again, whose output is not stored.
INGOT_INLINE const uint8_t* lane_row(const MatmulArguments& m, int64_t row) {
    return row_of(m, row < m.n_rows ? row : m.n_rows - 1);
}

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

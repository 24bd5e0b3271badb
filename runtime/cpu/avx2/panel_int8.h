#pragma once
// What the panels of quantized weights share. A step is 4 inputs: VPMADDUBSW multiplies 4 unsigned bytes u of
// each of 8 rows with 4 signed ones x of a token, broadcast, and adds up two pairs of products in 16 bits. As
// long as they fit, the sums of several steps stay in 16 bits, two for each row: then a step is two
// instructions. Where w = u - zero, the sums begin at -zero Σ x, of which there is one for each half of the
// lanes; the sums of w x stay below 2^15, and what passes the limit on the way comes back.
#include "runtime/cpu/avx2/panel.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

constexpr int kInt8PanelInputs = 512;  // 8 KiB of weights

using Step = int8_t[kTileTokens][4];       // 4 inputs of a tile's tokens
using LaneSums = int16_t[kTileTokens][2];  // Σ x of the first two, and of the last two inputs of some steps
using Dots = __m256i[kPanelVectors][kTileTokens];

/// The sums of 16 bits of n_steps steps.
template <int n_steps, int zero>
INGOT_INLINE void multiply_steps(const __m256i* const (&weights)[kPanelVectors], const Step* x,
                                 const LaneSums& sums_of_x, Dots& sums) {
    constexpr int kZeroBits = zero == 0 ? 0 : __builtin_ctz(zero);
    static_assert(zero == 0 || zero == 1 << kZeroBits);
#pragma GCC unroll 8
    for (int step = 0; step < n_steps; ++step) {
        const __m256i first = weights[0][step], second = weights[1][step];
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) {
            const __m256i activations = spread(x[step][t]);
            const __m256i products[kPanelVectors] = {_mm256_maddubs_epi16(first, activations),
                                                     _mm256_maddubs_epi16(second, activations)};
            if (step == 0 && zero == 0) {
                sums[0][t] = products[0];
                sums[1][t] = products[1];
            } else if (step == 0) {
                const __m256i start = _mm256_slli_epi16(spread(sums_of_x[t]), kZeroBits);
                sums[0][t] = _mm256_sub_epi16(products[0], start);
                sums[1][t] = _mm256_sub_epi16(products[1], start);
            } else {
                sums[0][t] = _mm256_add_epi16(sums[0][t], products[0]);
                sums[1][t] = _mm256_add_epi16(sums[1][t], products[1]);
            }
        }
    }
}

/// 32 signed bytes of each of a tile's tokens, which lie `stride` bytes apart -> 8 steps. A tile that is not
/// full repeats its last token.
INGOT_INLINE void pack_steps(const int8_t* first, size_t stride, int64_t n_tokens, Step* to) {
    for (int64_t t = 0; t < kTileTokens; ++t) {
        const int8_t* bytes = first + size_t(t < n_tokens ? t : n_tokens - 1) * stride;
        for (int step = 0; step < 8; ++step) __builtin_memcpy(to[step][t], bytes + 4 * step, 4);
    }
}

/// Σ x of the two halves of the lanes, for n_steps steps.
INGOT_INLINE void add_lanes_of(const Step* x, int n_steps, LaneSums& to) {
    for (int t = 0; t < kTileTokens; ++t) {
        int sums[2] = {};
        for (int step = 0; step < n_steps; ++step) {
            for (int i = 0; i < 4; ++i) sums[i / 2] += x[step][t][i];
        }
        for (int i = 0; i < 2; ++i) to[t][i] = int16_t(sums[i]);
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

#pragma once
// What the panels of quantized weights share. A step is 4 inputs: the 4 unsigned bytes u of each of 8 rows
// meet 4 signed ones x of a token, broadcast. How, `Products` says; its sums of some steps become the
// products of weights w = u - zero by beginning at -zero Σ x.
#include "runtime/cpu/avx2/panel.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

constexpr int kInt8PanelInputs = 512;  // 8 KiB of weights

using Step = int8_t[kTileTokens][4];       // 4 inputs of a tile's tokens
using LaneSums = int16_t[kTileTokens][2];  // Σ x of the first two, and of the last two inputs of some steps
using Dots = __m256i[kPanelVectors][kTileTokens];

/// VPMADDUBSW adds up two pairs of products of each row in 16 bits. As long as they fit, the sums of several
/// steps stay there: then a step is two instructions. The sums of w x stay below 2^15, and what passes the
/// limit on the way comes back.
struct PairProducts {
    static constexpr bool kWide = false;  // sums of 32 bits
    template <int zero>
    INGOT_INLINE __m256i start(const int16_t (&sums_of_x)[2]) {
        if constexpr (zero == 0) return _mm256_setzero_si256();
        return _mm256_mullo_epi16(spread(sums_of_x), _mm256_set1_epi16(-zero));
    }
    INGOT_INLINE __m256i add(__m256i sum, __m256i weights, __m256i x) {
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, x));
    }
    /// Sums of 32 bits, times the integer scales of the rows, each twice as 16 bits.
    INGOT_INLINE __m256i scaled(__m256i sum, __m256i scales) { return _mm256_madd_epi16(sum, scales); }
    INGOT_INLINE __m256i whole(__m256i sum) { return _mm256_madd_epi16(sum, _mm256_set1_epi16(1)); }
};

#if defined(__AVXVNNI__)
/// VPDPBUSD adds all four to a sum of 32 bits.
struct FourProducts {
    static constexpr bool kWide = true;
    template <int zero>
    INGOT_INLINE __m256i start(const int16_t (&sums_of_x)[2]) {
        if constexpr (zero == 0) return _mm256_setzero_si256();
        return _mm256_madd_epi16(spread(sums_of_x), _mm256_set1_epi16(-zero));
    }
    INGOT_INLINE __m256i add(__m256i sum, __m256i weights, __m256i x) {
        return _mm256_dpbusd_avx_epi32(sum, weights, x);
    }
    /// Scales are of 32 bits.
    INGOT_INLINE __m256i scaled(__m256i sum, __m256i scales) { return _mm256_mullo_epi32(sum, scales); }
    INGOT_INLINE __m256i whole(__m256i sum) { return sum; }
};
#endif

/// sums = those of n_steps steps.
template <typename Products, int n_steps, int zero>
INGOT_INLINE void multiply_steps(const __m256i* const (&weights)[kPanelVectors], const Step* x,
                                 const LaneSums& sums_of_x, Dots& sums) {
#pragma GCC unroll 4
    for (int t = 0; t < kTileTokens; ++t) {
        const __m256i start = Products::template start<zero>(sums_of_x[t]);
        sums[0][t] = start;
        sums[1][t] = start;
    }
#pragma GCC unroll 8
    for (int step = 0; step < n_steps; ++step) {
        const __m256i first = weights[0][step], second = weights[1][step];
#pragma GCC unroll 4
        for (int t = 0; t < kTileTokens; ++t) {
            const __m256i activations = spread(x[step][t]);
            sums[0][t] = Products::add(sums[0][t], first, activations);
            sums[1][t] = Products::add(sums[1][t], second, activations);
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

#pragma once
// Products with many tokens for the layouts whose scales each cover 32 elements; see panel_int8.h. In 16 bits
// weights of 4 and 5 bits fill a block's sums: 16 products of at most 15 * 127 (of 16 * 127 after the zero)
// fit. There, weights of 8 bits are multiplied as their magnitude with the activation times their sign, and
// each step goes on to 32 bits.
#include "runtime/cpu/avx2/layouts_32.h"
#include "runtime/cpu/avx2/panel_int8.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

constexpr int kSteps32 = 8;                            // of a block of 32 inputs
constexpr int kPanelBlocks32 = kInt8PanelInputs / 32;  // 16: their factors are two vectors of each row

/// What is taken off the unsigned quants of a panel: without it those of 5 bits would not fit.
template <typename Layout>
constexpr int kPanelZero = Layout::kSigned ? 128 : Layout::kZero;
template <>
constexpr int kPanelZero<Q5_1> = 16;

/// Whether quants stay signed in a panel.
template <typename Products, typename Layout>
constexpr bool kStaysSigned = Layout::kSigned && !Products::kWide;

/// One block of 8 rows: w = scale * (u - kPanelZero) + offset, or scale * q where quants stay signed.
struct PanelBlock32 {
    __m256i quants[kSteps32];
    __m256 scale;
    __m256 offset;  // of layouts with minimums
};

/// One block of a tile's tokens: x ≈ scale * quants, sum = scale * Σ quants.
struct TileBlock32 {
    Step quants[kSteps32];
    LaneSums lane_sums;
    float scales[kTileTokens];
    float sums[kTileTokens];
};

/// Unpacks n ≤ kPanelBlocks32 blocks of 8 rows, from block b of row `row` on.
template <typename Products, typename Layout>
static void unpack(const MatmulArguments& m, int64_t row, int64_t b, int n, PanelBlock32* panel) {
    const uint8_t* rows[kPanelLanes];
    for (int lane = 0; lane < kPanelLanes; ++lane) rows[lane] = lane_row(m, row + lane);
    for (int i = 0; i < n; ++i) {
        __m256i steps[kSteps32];
        for (int lane = 0; lane < kPanelLanes; ++lane) {
            steps[lane] = Layout::quants(rows[lane], b + i);
            if constexpr (Layout::kSigned && !kStaysSigned<Products, Layout>) {
                steps[lane] = _mm256_xor_si256(steps[lane], _mm256_set1_epi8(-128));  // plus 128
            }
        }
        transpose(steps);
        for (int step = 0; step < kSteps32; ++step) panel[i].quants[step] = steps[step];
    }
    for (int i = 0; i < n; i += 8) {
        const int n_factors = n - i < 8 ? n - i : 8;
        __m256 scales[8], offsets[8];
        for (int lane = 0; lane < kPanelLanes; ++lane) {
            Layout::factors(rows[lane], b + i, n_factors, scales[lane], offsets[lane]);
            if constexpr (Layout::kHasMin) {
                offsets[lane] =
                    _mm256_fmadd_ps(scales[lane], _mm256_set1_ps(float(kPanelZero<Layout>)), offsets[lane]);
            }
        }
        transpose(scales);
        if constexpr (Layout::kHasMin) transpose(offsets);
        for (int j = 0; j < n_factors; ++j) {
            panel[i + j].scale = scales[j];
            if constexpr (Layout::kHasMin) panel[i + j].offset = offsets[j];
        }
    }
}

/// The integer products of a block, of signed bytes: Σ |q| (x sign q).
INGOT_INLINE void multiply_signed_block(const __m256i* const (&weights)[kPanelVectors], const Step* x,
                                        Dots& sums) {
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
    for (int step = 0; step < kSteps32; ++step) {
        for (int v = 0; v < kPanelVectors; ++v) {
            const __m256i quants = weights[v][step];
            const __m256i magnitudes = _mm256_abs_epi8(quants);
#pragma GCC unroll 4
            for (int t = 0; t < kTileTokens; ++t) {
                const __m256i signed_x = _mm256_sign_epi8(spread(x[step][t]), quants);
                const __m256i products = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, signed_x), ones);
                sums[v][t] = step == 0 ? products : _mm256_add_epi32(sums[v][t], products);
            }
        }
    }
}

/// Adds n blocks of a panel times those of a tile.
// Not inline: it needs every register.
template <typename Products, typename Layout>
[[gnu::noinline]] static void multiply(const PanelBlock32 (&panel)[kPanelVectors][kPanelBlocks32],
                                       const TileBlock32* tile, int64_t n, bool is_first,
                                       TileSums<kTileTokens>& result) {
    if (is_first) clear(result);
    for (int64_t b = 0; b < n; ++b) {
        Dots dots;  // in registers
        if constexpr (kStaysSigned<Products, Layout>) {
            multiply_signed_block({panel[0][b].quants, panel[1][b].quants}, tile[b].quants, dots);
        } else {
            multiply_steps<Products, kSteps32, kPanelZero<Layout>>({panel[0][b].quants, panel[1][b].quants},
                                                                   tile[b].quants, tile[b].lane_sums, dots);
            for (int v = 0; v < kPanelVectors; ++v) {
                for (int t = 0; t < kTileTokens; ++t) {
                    dots[v][t] = Products::whole(dots[v][t]);
                }
            }
        }
        leave_in_memory(&result);
        for (int t = 0; t < kTileTokens; ++t) {
            const __m256 scale = _mm256_set1_ps(tile[b].scales[t]);
            for (int v = 0; v < kPanelVectors; ++v) {
                const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(dots[v][t]), scale);
                __m256 sum = _mm256_fmadd_ps(scaled, panel[v][b].scale, result.of[v][t]);
                if constexpr (Layout::kHasMin) {
                    sum = _mm256_fmadd_ps(panel[v][b].offset, _mm256_set1_ps(tile[b].sums[t]), sum);
                }
                result.of[v][t] = sum;
            }
        }
    }
}

template <typename Products, typename Layout>
struct Panel32 {
    using Sums = TileSums<kTileTokens>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens;
    static constexpr int64_t kInputs = kInt8PanelInputs;
    PanelBlock32 blocks[kPanelVectors][kPanelBlocks32];

    INGOT_INLINE void unpack(Panel32& panel, const MatmulArguments& m, int64_t row, int64_t input,
                             int64_t n) {
        for (int v = 0; v < kPanelVectors; ++v) {
            avx2::unpack<Products, Layout>(m, row + v * kPanelLanes, input / 32, int(n / 32),
                                           panel.blocks[v]);
        }
    }
    INGOT_INLINE void multiply(const Panel32& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& sums) {
        avx2::multiply<Products, Layout>(
            panel.blocks, reinterpret_cast<const TileBlock32*>(tile) + input / 32, n / 32, is_first, sums);
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile(m, row, token, sums);
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

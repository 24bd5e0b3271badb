#pragma once
// Products with many tokens for the layouts with super-blocks of 256 elements; see panel_int8.h.
//
// The sums of a group (16 or 32 elements with one scale), or of half of one, are multiplied with the scale;
// these integers are added up to the end of the super-block. The minimums meet the sums of the activations in
// integers, too. Scales of the blocks come last, once for a super-block.
#include <type_traits>

#include "runtime/cpu/avx2/layouts_256.h"
#include "runtime/cpu/avx2/panel_int8.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

constexpr int kSteps256 = 64;  // of a super-block
constexpr int kPanelBlocks256 = kInt8PanelInputs / 256;

/// Elements of a group.
template <typename Layout>
constexpr int kGroupOf = 16;
template <>
constexpr int kGroupOf<Q4_K> = 32;
template <>
constexpr int kGroupOf<Q5_K> = 32;

/// Steps of a group whose sums fit: in 16 bits 16 products of 15 * 127, or 8 of 31 * 127 or (without the
/// zero) of 32 * 127.
template <typename Products, typename Layout>
constexpr int kRunSteps = Products::kWide || std::is_same_v<Layout, Q4_K> ? kGroupOf<Layout> / 4 : 4;

template <typename Products, typename Layout>
constexpr int kRunsOf = kSteps256 / kRunSteps<Products, Layout>;

/// Pairs of minimums, or none.
template <typename Layout>
constexpr int kMinimumPairsOf = Layout::kHasMin ? 128 / kGroupOf<Layout> : 0;

/// One super-block of 8 rows.
template <typename Products, typename Layout>
struct PanelBlock256 {
    __m256i quants[kSteps256];                  // u
    __m256i scales[kRunsOf<Products, Layout>];  // as Products want them

    __m256i minimums[kMinimumPairsOf<Layout> + 1];  // of two groups, as 16 bits
    __m256 d, dmin;
};

/// One super-block of a tile's tokens: x ≈ scale * quants.
struct TileBlock256 {
    Step quants[kSteps256];
    LaneSums lane_sums[16];  // of each 16 elements
    LaneSums sums_16[8];     // Σ quants of two times 16 elements
    LaneSums sums_32[4];     // of two times 32
    float scales[kTileTokens];
};

/// Unpacks super-block b of 8 rows.
template <typename Products, typename Layout>
static void unpack(const MatmulArguments& m, int64_t row, int64_t b, PanelBlock256<Products, Layout>& panel) {
    using Block = typename Layout::Block;
    __m256i quants[8][8];
    alignas(32) int16_t scales[16][kPanelLanes][2], minimums[8][kPanelLanes][2];
    alignas(32) float d[kPanelLanes], dmin[kPanelLanes] = {};
    for (int lane = 0; lane < kPanelLanes; ++lane) {
        Parts parts;
        Layout::take_apart(reinterpret_cast<const Block*>(lane_row(m, row + lane))[b], parts);
        alignas(32) int16_t of_pairs[8][16], of_groups[16];
        for (int k = 0; k < 8; ++k) {
            quants[k][lane] = parts.quants[k];
            _mm256_store_si256(reinterpret_cast<__m256i*>(of_pairs[k]), parts.scales[k]);
        }
        for (int group = 0; group < 16; ++group) {
            const int16_t scale = of_pairs[group / 2][group % 2 * 8];
            scales[group][lane][0] = scale;
            scales[group][lane][1] = Products::kWide ? int16_t(scale >> 15) : scale;  // of 32 bits: the sign
        }
        d[lane] = parts.d;
        if constexpr (Layout::kHasMin) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(of_groups), parts.minimums);
            constexpr int kStride = kGroupOf<Layout> / 16;
            for (int group = 0; group < 2 * kMinimumPairsOf<Layout>; ++group) {
                minimums[group / 2][lane][group % 2] = of_groups[kStride * group];
            }
            dmin[lane] = parts.dmin;
        }
    }
    for (int k = 0; k < 8; ++k) {
        transpose(quants[k]);
        for (int step = 0; step < 8; ++step) panel.quants[8 * k + step] = quants[k][step];
    }
    for (int run = 0; run < kRunsOf<Products, Layout>; ++run) {
        constexpr int kGroups = kRunSteps<Products, Layout> / 4;  // of 16 elements
        panel.scales[run] = _mm256_load_si256(reinterpret_cast<const __m256i*>(scales[run * kGroups]));
    }
    for (int pair = 0; pair < kMinimumPairsOf<Layout>; ++pair) {
        panel.minimums[pair] = _mm256_load_si256(reinterpret_cast<const __m256i*>(minimums[pair]));
    }
    panel.d = _mm256_load_ps(d);
    panel.dmin = _mm256_load_ps(dmin);
}

template <typename Products, typename Layout>
using PanelBlocks256 = PanelBlock256<Products, Layout>[kPanelVectors];

/// sums = Σ over groups of scale * Σ (u - zero) x.
// Not inline: it needs every register.
template <typename Products, typename Layout>
[[gnu::noinline]] static void multiply_groups(const PanelBlocks256<Products, Layout>& panel,
                                              const TileBlock256& tile, Dots& sums) {
#pragma GCC unroll 1
    for (int run = 0; run < kRunsOf<Products, Layout>; ++run) {
        Dots dots;  // in registers
        const int step = run * kRunSteps<Products, Layout>;
        multiply_steps<Products, kRunSteps<Products, Layout>, Layout::kZero>(
            {panel[0].quants + step, panel[1].quants + step}, tile.quants + step, tile.lane_sums[run], dots);
        leave_in_memory(&sums);
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) {
                const __m256i products = Products::scaled(dots[v][t], panel[v].scales[run]);
                sums[v][t] = run == 0 ? products : _mm256_add_epi32(sums[v][t], products);
            }
        }
        leave_in_memory(&sums);
    }
}

/// sums = Σ over groups of minimum * Σ x.
template <typename Products, typename Layout>
[[gnu::noinline]] static void multiply_minimums(const PanelBlocks256<Products, Layout>& panel,
                                                const TileBlock256& tile, Dots& sums) {
    const LaneSums* x = kGroupOf<Layout> == 16 ? tile.sums_16 : tile.sums_32;
    Dots dots;  // in registers
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) dots[v][t] = _mm256_setzero_si256();
    }
#pragma GCC unroll 8
    for (int pair = 0; pair < kMinimumPairsOf<Layout>; ++pair) {
        const __m256i first = panel[0].minimums[pair], second = panel[1].minimums[pair];
        for (int t = 0; t < kTileTokens; ++t) {
            const __m256i pair_sums = spread(x[pair][t]);
            dots[0][t] = _mm256_add_epi32(dots[0][t], _mm256_madd_epi16(first, pair_sums));
            dots[1][t] = _mm256_add_epi32(dots[1][t], _mm256_madd_epi16(second, pair_sums));
        }
    }
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) sums[v][t] = dots[v][t];
    }
}

template <typename Products, typename Layout>
struct Panel256 {
    using Sums = TileSums<kTileTokens>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens;
    static constexpr int64_t kInputs = kInt8PanelInputs;
    PanelBlocks256<Products, Layout> blocks[kPanelBlocks256];

    INGOT_INLINE void unpack(Panel256& panel, const MatmulArguments& m, int64_t row, int64_t input,
                             int64_t n) {
        for (int64_t i = 0; i < n / 256; ++i) {
            for (int v = 0; v < kPanelVectors; ++v) {
                avx2::unpack<Products, Layout>(m, row + v * kPanelLanes, input / 256 + i, panel.blocks[i][v]);
            }
        }
    }
    INGOT_INLINE void multiply(const Panel256& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& sums) {
        const auto* blocks = reinterpret_cast<const TileBlock256*>(tile) + input / 256;
        if (is_first) clear(sums);
        for (int64_t i = 0; i < n / 256; ++i) {
            Dots products, minimums;
            multiply_groups<Products, Layout>(panel.blocks[i], blocks[i], products);
            if constexpr (Layout::kHasMin)
                multiply_minimums<Products, Layout>(panel.blocks[i], blocks[i], minimums);
            for (int v = 0; v < kPanelVectors; ++v) {
                const PanelBlock256<Products, Layout>& block = panel.blocks[i][v];
                for (int t = 0; t < kTileTokens; ++t) {
                    __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(products[v][t]), block.d);
                    if constexpr (Layout::kHasMin) {
                        value = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minimums[v][t]), block.dmin, value);
                    }
                    sums.of[v][t] =
                        _mm256_fmadd_ps(value, _mm256_set1_ps(blocks[i].scales[t]), sums.of[v][t]);
                }
            }
        }
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile(m, row, token, sums);
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

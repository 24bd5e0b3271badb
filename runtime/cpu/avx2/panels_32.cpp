// Products with many tokens for the layouts whose scales each cover 32 elements; see panel_int8.h. Weights of
// 4 and 5 bits fill a block's sums in 16 bits: 16 products of at most 15 * 127 (of 16 * 127 after the zero)
// fit. Weights of 8 bits are multiplied as their magnitude with the activation times their sign, and each
// step goes on to 32 bits.
#include "runtime/cpu/avx2/layouts_32.h"
#include "runtime/cpu/avx2/panel_int8.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

constexpr int kSteps = 8;                            // of a block of 32 inputs
constexpr int kPanelBlocks = kInt8PanelInputs / 32;  // 16: their factors are two vectors of each row

/// What is taken off the quants of a panel: unsigned 5-bit ones would not fit.
template <typename Layout>
constexpr int kPanelZero = Layout::kZero;
template <>
constexpr int kPanelZero<Q5_1> = 16;

/// One block of 8 rows: w = scale * (q - kPanelZero) + offset.
struct PanelBlock {
    __m256i quants[kSteps];
    __m256 scale;
    __m256 offset;  // of layouts with minimums
};

/// One block of a tile's tokens: x ≈ scale * quants, sum = scale * Σ quants.
struct TileBlock {
    Step quants[kSteps];
    LaneSums lane_sums;
    float scales[kTileTokens];
    float sums[kTileTokens];
};

/// Unpacks n ≤ kPanelBlocks blocks of 8 rows, from block b of row `row` on.
template <typename Layout>
static void unpack(const MatmulArguments& m, int64_t row, int64_t b, int n, PanelBlock* panel) {
    const uint8_t* rows[kPanelLanes];
    for (int lane = 0; lane < kPanelLanes; ++lane) rows[lane] = lane_row(m, row + lane);
    for (int i = 0; i < n; ++i) {
        __m256i steps[kSteps];
        for (int lane = 0; lane < kPanelLanes; ++lane) steps[lane] = Layout::quants(rows[lane], b + i);
        transpose(steps);
        for (int step = 0; step < kSteps; ++step) panel[i].quants[step] = steps[step];
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
INGOT_INLINE void multiply_signed(const __m256i* const (&weights)[kPanelVectors], const Step* x, Dots& sums) {
    const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 8
    for (int step = 0; step < kSteps; ++step) {
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
template <typename Layout>
[[gnu::noinline]] static void multiply(const PanelBlock (&panel)[kPanelVectors][kPanelBlocks],
                                       const TileBlock* tile, int64_t n, bool is_first,
                                       TileSums<kTileTokens>& result) {
    if (is_first) clear(result);
    for (int64_t b = 0; b < n; ++b) {
        Dots dots;  // in registers
        if constexpr (Layout::kSigned) {
            multiply_signed({panel[0][b].quants, panel[1][b].quants}, tile[b].quants, dots);
        } else {
            multiply_steps<kSteps, kPanelZero<Layout>>({panel[0][b].quants, panel[1][b].quants},
                                                       tile[b].quants, tile[b].lane_sums, dots);
            for (int v = 0; v < kPanelVectors; ++v) {
                for (int t = 0; t < kTileTokens; ++t) {
                    dots[v][t] = _mm256_madd_epi16(dots[v][t], _mm256_set1_epi16(1));
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

template <typename Layout>
struct Panel {
    using Sums = TileSums<kTileTokens>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens;
    static constexpr int64_t kInputs = kInt8PanelInputs;
    PanelBlock blocks[kPanelVectors][kPanelBlocks];

    INGOT_INLINE void unpack(Panel& panel, const MatmulArguments& m, int64_t row, int64_t input, int64_t n) {
        for (int v = 0; v < kPanelVectors; ++v) {
            avx2::unpack<Layout>(m, row + v * kPanelLanes, input / 32, int(n / 32), panel.blocks[v]);
        }
    }
    INGOT_INLINE void multiply(const Panel& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& sums) {
        avx2::multiply<Layout>(panel.blocks, reinterpret_cast<const TileBlock*>(tile) + input / 32, n / 32,
                               is_first, sums);
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile(m, row, token, sums);
    }
};

}  // namespace

size_t tile_bytes_32(int64_t n_in) {
    return size_t(n_in / 32) * sizeof(TileBlock);
}

void pack_tile_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* blocks = static_cast<TileBlock*>(tile);
    const int64_t n_blocks = n_in / 32;
    const auto* quants = static_cast<const int8_t*>(rows);
    for (int64_t b = 0; b < n_blocks; ++b) {
        pack_steps(quants + 32 * b, stride, n_tokens, blocks[b].quants);
        add_lanes_of(blocks[b].quants, kSteps, blocks[b].lane_sums);
    }
    for (int64_t t = 0; t < kTileTokens; ++t) {
        const ActivationRow32 x =
            activation_row_32(quants + size_t(t < n_tokens ? t : n_tokens - 1) * stride, n_in);
        for (int64_t b = 0; b < n_blocks; ++b) {
            blocks[b].scales[t] = x.scales[b];
            blocks[b].sums[t] = x.sums[b];
        }
    }
}

void panels_q4_0(const MatmulArguments& m) {
    multiply_panels<Panel<Q4_0>>(m);
}
void panels_q4_1(const MatmulArguments& m) {
    multiply_panels<Panel<Q4_1>>(m);
}
void panels_q5_0(const MatmulArguments& m) {
    multiply_panels<Panel<Q5_0>>(m);
}
void panels_q5_1(const MatmulArguments& m) {
    multiply_panels<Panel<Q5_1>>(m);
}
void panels_q8_0(const MatmulArguments& m) {
    multiply_panels<Panel<Q8_0>>(m);
}
void panels_iq4_nl(const MatmulArguments& m) {
    multiply_panels<Panel<IQ4_NL>>(m);
}
void panels_iq4_xs(const MatmulArguments& m) {
    multiply_panels<Panel<IQ4_XS>>(m);
}

}  // namespace ingot::runtime::cpu::avx2

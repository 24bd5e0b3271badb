// Products with many tokens for the layouts whose scales each cover 32 elements; see panel.h.
#include "runtime/cpu/avx512/layouts_32.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kSteps = 8;                        // of a block of 32 inputs
constexpr int kPanelBlocks = kPanelInputs / 32;  // 16: their factors are one vector of each row

/// One block of 16 rows: w = scale * q + offset.
struct PanelBlock {
    __m512i quants[kSteps];  // q, signed bytes
    __m512i start;
    __m512 scale;
    __m512 offset;  // of layouts with minimums
};

/// One block of a tile's tokens: x ≈ scale * (u - 128), sum = scale * Σ (u - 128).
struct TileBlock {
    uint8_t quants[kSteps][kTileTokens][4];  // u
    float scales[kTileTokens];
    float sums[kTileTokens];
};

/// Unpacks n ≤ kPanelBlocks blocks of 16 rows, from block b of row `row` on.
template <typename Layout>
static void unpack(const MatmulArguments& m, int64_t row, int64_t b, int n, PanelBlock* panel) {
    const uint8_t* rows[kPanelLanes];
    for (int lane = 0; lane < kPanelLanes; ++lane) rows[lane] = lane_row(m, row + lane);
    const __m512i zero = _mm512_set1_epi8(char(Layout::kZero));
    for (int i = 0; i < n; i += 2) {
        __m512i steps[16];  // of two blocks
        for (int lane = 0; lane < kPanelLanes; ++lane) {
            const __m512i quants = i + 1 < n ? Layout::template quants<true>(rows[lane], b + i)
                                             : Layout::template quants<false>(rows[lane], b + i);
            steps[lane] = _mm512_sub_epi8(quants, zero);
        }
        transpose(steps);
        for (int j = 0; j < 2 && i + j < n; ++j) {
            for (int step = 0; step < kSteps; ++step) panel[i + j].quants[step] = steps[kSteps * j + step];
            panel[i + j].start = start_of(steps + kSteps * j, kSteps);
        }
    }
    __m512 scales[16], offsets[16];
    for (int lane = 0; lane < kPanelLanes; ++lane)
        Layout::factors(rows[lane], b, n, scales[lane], offsets[lane]);
    transpose(scales);
    if constexpr (Layout::kHasMin) transpose(offsets);
    for (int i = 0; i < n; ++i) {
        panel[i].scale = scales[i];
        if constexpr (Layout::kHasMin) panel[i].offset = offsets[i];
    }
}

/// Adds n blocks of a panel times those of a tile.
// Not inline: it needs every register.
template <bool kHasMin>
[[gnu::noinline]] static void multiply(const PanelBlock (&panel)[kPanelVectors][kPanelBlocks],
                                       const TileBlock* tile, int n, TileSums& result) {
    TileSums sums;  // in registers
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) sums[v][t] = _mm512_setzero_ps();
    }
    for (int b = 0; b < n; ++b) {
        __m512i dots[kPanelVectors][kTileTokens];
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) dots[v][t] = panel[v][b].start;
        }
        multiply_steps<kSteps>({panel[0][b].quants, panel[1][b].quants}, tile[b].quants, dots);
        for (int t = 0; t < kTileTokens; ++t) {
            const __m512 scale = _mm512_set1_ps(tile[b].scales[t]);
            for (int v = 0; v < kPanelVectors; ++v) {
                sums[v][t] = _mm512_fmadd_ps(_mm512_mul_ps(panel[v][b].scale, scale),
                                             _mm512_cvtepi32_ps(dots[v][t]), sums[v][t]);
                if constexpr (kHasMin) {
                    sums[v][t] =
                        _mm512_fmadd_ps(panel[v][b].offset, _mm512_set1_ps(tile[b].sums[t]), sums[v][t]);
                }
            }
        }
    }
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) result[v][t] = sums[v][t];
    }
}

template <typename Layout>
static void multiply_panels(const MatmulArguments& m) {
    PanelBlock panel[kPanelVectors][kPanelBlocks];
    const int64_t n_blocks = m.n_in / 32;
    for (int64_t row = 0; row < m.n_rows; row += kPanelRows) {
        for (int64_t b = 0; b < n_blocks; b += kPanelBlocks) {
            const int n = int(n_blocks - b < kPanelBlocks ? n_blocks - b : kPanelBlocks);
            for (int v = 0; v < kPanelVectors; ++v) unpack<Layout>(m, row + v * kPanelLanes, b, n, panel[v]);
            for (int64_t token = 0; token < m.n_tokens; token += kTileTokens) {
                const uint8_t* tile = activations_of(m, token / kTileTokens);
                TileSums sums;
                multiply<Layout::kHasMin>(panel, reinterpret_cast<const TileBlock*>(tile) + b, n, sums);
                store_tile(m, row, token, b > 0, sums);
            }
        }
    }
}

}  // namespace

size_t tile_bytes_32(int64_t n_in) {
    return size_t(n_in / 32) * sizeof(TileBlock);
}

void pack_tile_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* blocks = static_cast<TileBlock*>(tile);
    for (int64_t t = 0; t < kTileTokens; ++t) {
        // A tile that is not full repeats its last token.
        const void* row =
            static_cast<const uint8_t*>(rows) + size_t(t < n_tokens ? t : n_tokens - 1) * stride;
        const ActivationRow32 x = activation_row_32(row, n_in);
        for (int64_t b = 0; b < n_in / 32; ++b) {
            for (int step = 0; step < kSteps; ++step) {
                uint32_t four;
                __builtin_memcpy(&four, x.quants + 32 * b + 4 * step, sizeof four);
                four ^= 0x80808080;
                __builtin_memcpy(blocks[b].quants[step][t], &four, sizeof four);
            }
            blocks[b].scales[t] = x.scales[b];
            blocks[b].sums[t] = x.sums[b];
        }
    }
}

void panels_q4_0(const MatmulArguments& m) {
    multiply_panels<Q4_0>(m);
}
void panels_q4_1(const MatmulArguments& m) {
    multiply_panels<Q4_1>(m);
}
void panels_q5_0(const MatmulArguments& m) {
    multiply_panels<Q5_0>(m);
}
void panels_q5_1(const MatmulArguments& m) {
    multiply_panels<Q5_1>(m);
}
void panels_q8_0(const MatmulArguments& m) {
    multiply_panels<Q8_0>(m);
}
void panels_iq4_nl(const MatmulArguments& m) {
    multiply_panels<IQ4_NL>(m);
}
void panels_iq4_xs(const MatmulArguments& m) {
    multiply_panels<IQ4_XS>(m);
}

}  // namespace ingot::runtime::cpu::avx512

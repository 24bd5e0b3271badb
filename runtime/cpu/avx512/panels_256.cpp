// Products with many tokens for the layouts with super-blocks of 256 elements; see panel.h.
//
// The integer sums of a group (16 or 32 elements with one scale) become floats and are added up with their
// scales; the minimums of a super-block meet the sums of the activations in 32-bit integers; the scale of the
// activations comes last, once for a super-block.
#include "runtime/cpu/avx512/layouts_256.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kSteps = 64;  // of a super-block
constexpr int kPanelBlocks = kPanelInputs / 256;

/// One super-block of 16 rows: w = scales[group] * q - dmin * minimum.
template <int kGroups>
struct PanelBlock {
    __m512i quants[kSteps];  // q, signed bytes
    __m512i start[kGroups];
    __m512 scales[kGroups];
    __m512i minimums[kGroups / 2];  // pairs of 16 bits
    __m512 dmin;
};

/// One super-block of a tile's tokens: x ≈ scale * (u - 128).
struct TileBlock {
    uint8_t quants[kSteps][kTileTokens][4];  // u
    int16_t sums_16[8][kTileTokens][2];      // Σ (u - 128) of each 16 elements, in pairs
    int16_t sums_32[4][kTileTokens][2];      // of each 32
    float scales[kTileTokens];
};

template <typename Layout>
constexpr int kGroupsOf = 256 / Layout::kGroup;

/// 16 numbers of 16 bits, of which every second counts where groups have 32 elements, in the lower lanes.
template <typename Layout>
INGOT_INLINE __m256i one_per_group(__m256i sixteen) {
    if constexpr (Layout::kGroup == 16) return sixteen;
    return _mm256_zextsi128_si256(_mm256_cvtepi32_epi16(sixteen));
}

/// Unpacks super-block b of 16 rows.
template <typename Layout>
static void unpack(const MatmulArguments& m, int64_t row, int64_t b, PanelBlock<kGroupsOf<Layout>>& panel) {
    using Block = typename Layout::Block;
    constexpr int kGroups = kGroupsOf<Layout>;
    constexpr int kGroupSteps = kSteps / kGroups;
    __m512i quants[4][16], minimums[16];
    __m512 scales[16];
    alignas(64) float dmin[16];
    const __m512i zero = _mm512_set1_epi8(char(Layout::kZero));
    for (int lane = 0; lane < kPanelLanes; ++lane) {
        Parts parts;
        Layout::take_apart(reinterpret_cast<const Block*>(lane_row(m, row + lane))[b], parts);
        for (int k = 0; k < 4; ++k) quants[k][lane] = _mm512_sub_epi8(parts.quants[k], zero);
        scales[lane] = _mm512_mul_ps(
            parts.d, _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(one_per_group<Layout>(parts.scales))));
        if constexpr (Layout::kHasMin) {
            minimums[lane] = _mm512_zextsi256_si512(one_per_group<Layout>(parts.minimums));
            dmin[lane] = _mm512_cvtss_f32(parts.dmin);
        }
    }
    for (int k = 0; k < 4; ++k) {
        transpose(quants[k]);
        for (int step = 0; step < 16; ++step) panel.quants[16 * k + step] = quants[k][step];
    }
    transpose(scales);
    for (int group = 0; group < kGroups; ++group) {
        panel.scales[group] = scales[group];
        panel.start[group] = start_of(panel.quants + group * kGroupSteps, kGroupSteps);
    }
    if constexpr (Layout::kHasMin) {
        transpose(minimums);
        for (int pair = 0; pair < kGroups / 2; ++pair) panel.minimums[pair] = minimums[pair];
        panel.dmin = _mm512_load_ps(dmin);
    }
}

/// Adds a super-block of a panel times that of a tile.
// Not inline: it needs every register.
template <typename Layout>
[[gnu::noinline]] static void multiply(
    const PanelBlock<kGroupsOf<Layout>> (&panel)[kPanelVectors][kPanelBlocks], int b, const TileBlock& tile,
    TileSums& result) {
    constexpr int kGroups = kGroupsOf<Layout>;
    constexpr int kGroupSteps = kSteps / kGroups;
    TileSums sums;  // in registers
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) sums[v][t] = _mm512_setzero_ps();
    }
    __m512i dots[kPanelVectors][kTileTokens];
#pragma GCC unroll 1
    for (int group = 0; group < kGroups; ++group) {
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) dots[v][t] = panel[v][b].start[group];
        }
        const int step = group * kGroupSteps;
        multiply_steps<kGroupSteps>({panel[0][b].quants + step, panel[1][b].quants + step},
                                    tile.quants + step, dots);
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) {
                sums[v][t] =
                    _mm512_fmadd_ps(panel[v][b].scales[group], _mm512_cvtepi32_ps(dots[v][t]), sums[v][t]);
            }
        }
    }
    if constexpr (Layout::kHasMin) {
        const auto* x = Layout::kGroup == 16 ? tile.sums_16 : tile.sums_32;
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) {
                dots[v][t] = _mm512_setzero_si512();
                for (int pair = 0; pair < kGroups / 2; ++pair) {
                    dots[v][t] =
                        _mm512_dpwssd_epi32(dots[v][t], panel[v][b].minimums[pair], spread(x[pair][t]));
                }
                sums[v][t] = _mm512_fnmadd_ps(panel[v][b].dmin, _mm512_cvtepi32_ps(dots[v][t]), sums[v][t]);
            }
        }
    }
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) {
            result[v][t] = _mm512_fmadd_ps(sums[v][t], _mm512_set1_ps(tile.scales[t]), result[v][t]);
        }
    }
}

template <typename Layout>
static void multiply_panels(const MatmulArguments& m) {
    PanelBlock<kGroupsOf<Layout>> panel[kPanelVectors][kPanelBlocks];
    const int64_t n_blocks = m.n_in / 256;
    for (int64_t row = 0; row < m.n_rows; row += kPanelRows) {
        for (int64_t b = 0; b < n_blocks; b += kPanelBlocks) {
            const int n = int(n_blocks - b < kPanelBlocks ? n_blocks - b : kPanelBlocks);
            for (int v = 0; v < kPanelVectors; ++v) {
                for (int i = 0; i < n; ++i) unpack<Layout>(m, row + v * kPanelLanes, b + i, panel[v][i]);
            }
            for (int64_t token = 0; token < m.n_tokens; token += kTileTokens) {
                const auto* tile = reinterpret_cast<const TileBlock*>(activations_of(m, token / kTileTokens));
                TileSums sums = {};
                for (int i = 0; i < n; ++i) multiply<Layout>(panel, i, tile[b + i], sums);
                store_tile(m, row, token, b > 0, sums);
            }
        }
    }
}

}  // namespace

size_t tile_bytes_256(int64_t n_in) {
    return size_t(n_in / 256) * sizeof(TileBlock);
}

void pack_tile_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* blocks = static_cast<TileBlock*>(tile);
    for (int64_t t = 0; t < kTileTokens; ++t) {
        // A tile that is not full repeats its last token.
        const void* row =
            static_cast<const uint8_t*>(rows) + size_t(t < n_tokens ? t : n_tokens - 1) * stride;
        const auto* x = static_cast<const ActivationBlock256*>(row);
        for (int64_t b = 0; b < n_in / 256; ++b) {
            for (int step = 0; step < kSteps; ++step) {
                uint32_t four;
                __builtin_memcpy(&four, x[b].quants + 4 * step, sizeof four);
                four ^= 0x80808080;
                __builtin_memcpy(blocks[b].quants[step][t], &four, sizeof four);
            }
            for (int i = 0; i < 16; ++i) blocks[b].sums_16[i / 2][t][i % 2] = x[b].sums[i];
            for (int i = 0; i < 8; ++i) {
                blocks[b].sums_32[i / 2][t][i % 2] = int16_t(x[b].sums[2 * i] + x[b].sums[2 * i + 1]);
            }
            blocks[b].scales[t] = x[b].scale;
        }
    }
}

void panels_q2_k(const MatmulArguments& m) {
    multiply_panels<Q2_K>(m);
}
void panels_q3_k(const MatmulArguments& m) {
    multiply_panels<Q3_K>(m);
}
void panels_q4_k(const MatmulArguments& m) {
    multiply_panels<Q4_K>(m);
}
void panels_q5_k(const MatmulArguments& m) {
    multiply_panels<Q5_K>(m);
}
void panels_q6_k(const MatmulArguments& m) {
    multiply_panels<Q6_K>(m);
}

}  // namespace ingot::runtime::cpu::avx512

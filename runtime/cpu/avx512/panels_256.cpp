// Products with many tokens for the layouts with super-blocks of 256 elements; see panel_int8.h.
//
// Where the scale of a group times a quant fits into 8 bits (Q2_K, Q3_K), the panel holds these products, and
// the integers of a super-block are added up to its end. Elsewhere the integer sums of a group (16 or 32
// elements with one scale) become floats and are added up with their scales. The minimums of a super-block
// meet the sums of the activations in 32-bit integers; the scale of the activations comes last, once for a
// super-block.
#include <type_traits>

#include "runtime/cpu/avx512/layouts_256.h"
#include "runtime/cpu/avx512/panel_int8.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kSteps = 64;  // of a super-block
constexpr int kPanelBlocks = kInt8PanelInputs / 256;

/// Q2_K: 15 * 3. Q3_K: -32 * -4 = 128 fits only with its sign turned, so all signs are.
template <typename Layout>
constexpr bool kScalesInQuants = std::is_same_v<Layout, Q2_K> || std::is_same_v<Layout, Q3_K>;

/// Groups whose integer sums are made floats.
template <typename Layout>
constexpr int kGroupsOf = kScalesInQuants<Layout> ? 1 : 256 / Layout::kGroup;

/// Pairs of minimums, or none.
template <typename Layout>
constexpr int kMinimumPairsOf = Layout::kHasMin ? 128 / Layout::kGroup : 0;

/// One super-block of 16 rows: w = scales[group] * q - dmin * minimum.
template <typename Layout>
struct PanelBlock {
    __m512i quants[kSteps];  // q, signed bytes
    __m512i start[kGroupsOf<Layout>];
    __m512 scales[kGroupsOf<Layout>];
    __m512i minimums[kMinimumPairsOf<Layout> + 1];  // pairs of 16 bits
    __m512 dmin;
};

/// One super-block of a tile's tokens: x ≈ scale * (u - 128).
struct TileBlock {
    uint8_t quants[kSteps][kTileTokens][4];  // u
    int16_t sums_16[8][kTileTokens][2];      // Σ (u - 128) of each 16 elements, in pairs
    int16_t sums_32[4][kTileTokens][2];      // of each 32
    float scales[kTileTokens];
};

/// The scales of the groups in order, 16-bit; where groups have 32 elements, in the lower lanes.
template <typename Layout>
INGOT_INLINE __m256i scales_in_order(const Parts& parts) {
    if constexpr (Layout::kGroup == 16) return parts.scales;
    static_assert(scale_place<Q4_K>(2 * 3) == 3 && scale_place<Q4_K>(2 * 4) == 8);
    return _mm256_zextsi128_si256(
        _mm_unpacklo_epi64(_mm256_castsi256_si128(parts.scales), _mm256_extracti128_si256(parts.scales, 1)));
}

/// 16 numbers of 16 bits, of which every second counts where groups have 32 elements, in the lower lanes.
template <typename Layout>
INGOT_INLINE __m256i one_per_group(__m256i sixteen) {
    if constexpr (Layout::kGroup == 16) return sixteen;
    return _mm256_zextsi128_si256(_mm256_cvtepi32_epi16(sixteen));
}

/// Each byte times the 16-bit number above it, modulo 256.
INGOT_INLINE __m512i multiply_bytes(__m512i bytes, __m512i factors) {
    const __m512i low = _mm512_set1_epi16(0xff);
    const __m512i even = _mm512_mullo_epi16(_mm512_and_si512(bytes, low), factors);
    const __m512i odd = _mm512_mullo_epi16(_mm512_andnot_si512(low, bytes), factors);
    return and_or(even, low, odd);
}

/// Unpacks super-block b of 16 rows.
template <typename Layout>
static void unpack(const MatmulArguments& m, int64_t row, int64_t b, PanelBlock<Layout>& panel) {
    using Block = typename Layout::Block;
    constexpr int kGroups = kGroupsOf<Layout>;
    constexpr int kGroupSteps = kSteps / kGroups;
    __m512i quants[4][16], minimums[16];
    __m512 scales[16];
    alignas(64) float d[16], dmin[16];
    const __m512i zero = _mm512_set1_epi8(char(Layout::kZero));
    for (int lane = 0; lane < kPanelLanes; ++lane) {
        Parts parts;
        Layout::take_apart(reinterpret_cast<const Block*>(lane_row(m, row + lane))[b], parts);
        if constexpr (kScalesInQuants<Layout> && Layout::kZero != 0) {  // turns the signs
            parts.scales = _mm256_sub_epi16(_mm256_setzero_si256(), parts.scales);
            parts.d = _mm512_sub_ps(_mm512_setzero_ps(), parts.d);
        }
        for (int k = 0; k < 4; ++k) {
            quants[k][lane] = _mm512_sub_epi8(parts.quants[k], zero);
            if constexpr (kScalesInQuants<Layout>) {
                quants[k][lane] = multiply_bytes(quants[k][lane], scales_of_pairs<Layout>(parts, k));
            }
        }
        if constexpr (kScalesInQuants<Layout>) {
            d[lane] = _mm512_cvtss_f32(parts.d);
        } else {
            scales[lane] = _mm512_mul_ps(
                parts.d, _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(scales_in_order<Layout>(parts))));
        }
        if constexpr (Layout::kHasMin) {
            minimums[lane] = _mm512_zextsi256_si512(one_per_group<Layout>(parts.minimums));
            dmin[lane] = _mm512_cvtss_f32(parts.dmin);
        }
    }
    for (int k = 0; k < 4; ++k) {
        transpose(quants[k]);
        for (int step = 0; step < 16; ++step) panel.quants[16 * k + step] = quants[k][step];
    }
    if constexpr (kScalesInQuants<Layout>) {
        panel.scales[0] = _mm512_load_ps(d);
    } else {
        transpose(scales);
        for (int group = 0; group < kGroups; ++group) panel.scales[group] = scales[group];
    }
    for (int group = 0; group < kGroups; ++group) {
        panel.start[group] = start_of(panel.quants + group * kGroupSteps, kGroupSteps);
    }
    if constexpr (Layout::kHasMin) {
        transpose(minimums);
        for (int pair = 0; pair < kMinimumPairsOf<Layout>; ++pair) panel.minimums[pair] = minimums[pair];
        panel.dmin = _mm512_load_ps(dmin);
    }
}

template <typename Layout>
using PanelBlocks = PanelBlock<Layout>[kPanelVectors];
using Sums = TileSums<kTileTokens>;

/// sums += Σ over groups of scale * Σ q u.
// Not inline: it needs every register for the integers.
template <typename Layout>
[[gnu::noinline]] static void add_groups(const PanelBlocks<Layout>& panel, const TileBlock& tile,
                                         Sums& sums) {
    constexpr int kGroups = kGroupsOf<Layout>;
    constexpr int kGroupSteps = kSteps / kGroups;
    __m512i dots[kPanelVectors][kTileTokens];
#pragma GCC unroll 1
    for (int group = 0; group < kGroups; ++group) {
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) dots[v][t] = panel[v].start[group];
        }
        const int step = group * kGroupSteps;
        multiply_steps<kGroupSteps>({panel[0].quants + step, panel[1].quants + step}, tile.quants + step,
                                    dots);
        leave_in_memory(&sums);
        for (int v = 0; v < kPanelVectors; ++v) {
            const __m512 scale = panel[v].scales[group];
            for (int t = 0; t < kTileTokens; ++t) {
                sums.of[v][t] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(dots[v][t]), sums.of[v][t]);
            }
        }
        leave_in_memory(&sums);
    }
}

/// sums -= dmin * Σ over groups of minimum * Σ (u - 128)
template <typename Layout>
[[gnu::noinline]] static void subtract_minimums(const PanelBlocks<Layout>& panel, const TileBlock& tile,
                                                Sums& sums) {
    const auto* x = Layout::kGroup == 16 ? tile.sums_16 : tile.sums_32;
    __m512i dots[kPanelVectors][kTileTokens];
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) dots[v][t] = _mm512_setzero_si512();
    }
#pragma GCC unroll 8
    for (int pair = 0; pair < kMinimumPairsOf<Layout>; ++pair) {
        const __m512i first = panel[0].minimums[pair], second = panel[1].minimums[pair];
        for (int t = 0; t < kTileTokens; ++t) {
            const __m512i pair_sums = spread(x[pair][t]);
            add_pair_products(dots[0][t], pair_sums, first);
            add_pair_products(dots[1][t], pair_sums, second);
        }
    }
    leave_in_memory(&sums);
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) {
            sums.of[v][t] = _mm512_fnmadd_ps(panel[v].dmin, _mm512_cvtepi32_ps(dots[v][t]), sums.of[v][t]);
        }
    }
}

template <typename Layout>
struct Panel {
    using Sums = TileSums<kTileTokens>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens;
    static constexpr int64_t kInputs = kInt8PanelInputs;
    PanelBlocks<Layout> blocks[kPanelBlocks];

    INGOT_INLINE void unpack(Panel& panel, const MatmulArguments& m, int64_t row, int64_t input, int64_t n) {
        for (int64_t i = 0; i < n / 256; ++i) {
            for (int v = 0; v < kPanelVectors; ++v) {
                avx512::unpack<Layout>(m, row + v * kPanelLanes, input / 256 + i, panel.blocks[i][v]);
            }
        }
    }
    INGOT_INLINE void multiply(const Panel& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& sums) {
        const auto* blocks = reinterpret_cast<const TileBlock*>(tile) + input / 256;
        if (is_first) clear(sums);
        for (int64_t i = 0; i < n / 256; ++i) {
            Sums of_block;
            clear(of_block);
            add_groups<Layout>(panel.blocks[i], blocks[i], of_block);
            if constexpr (Layout::kHasMin) subtract_minimums<Layout>(panel.blocks[i], blocks[i], of_block);
            for (int v = 0; v < kPanelVectors; ++v) {
                for (int t = 0; t < kTileTokens; ++t) {
                    const __m512 scale = _mm512_set1_ps(blocks[i].scales[t]);
                    sums.of[v][t] = _mm512_fmadd_ps(of_block.of[v][t], scale, sums.of[v][t]);
                }
            }
        }
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile(m, row, token, sums);
    }
};

}  // namespace

size_t tile_bytes_256(int64_t n_in) {
    return size_t(n_in / 256) * sizeof(TileBlock);
}

void pack_tile_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* blocks = static_cast<TileBlock*>(tile);
    const int64_t n_blocks = n_in / 256;
    const auto* x = static_cast<const ActivationBlock256*>(rows);
    for (int64_t b = 0; b < n_blocks; ++b) {
        for (int step = 0; step < kSteps; step += 16) {
            pack_steps(x[b].quants + 4 * step, stride, n_tokens, 16, blocks[b].quants + step);
        }
    }
    for (int64_t t = 0; t < kTileTokens; ++t) {
        // A tile that is not full repeats its last token.
        const void* row =
            static_cast<const uint8_t*>(rows) + size_t(t < n_tokens ? t : n_tokens - 1) * stride;
        const auto* of_token = static_cast<const ActivationBlock256*>(row);
        for (int64_t b = 0; b < n_blocks; ++b) {
            const int16_t* sums = of_token[b].sums;
            for (int i = 0; i < 16; ++i) blocks[b].sums_16[i / 2][t][i % 2] = sums[i];
            for (int i = 0; i < 8; ++i) {
                blocks[b].sums_32[i / 2][t][i % 2] = int16_t(sums[2 * i] + sums[2 * i + 1]);
            }
            blocks[b].scales[t] = of_token[b].scale;
        }
    }
}

void panels_q2_k(const MatmulArguments& m) {
    multiply_panels<Panel<Q2_K>>(m);
}
void panels_q3_k(const MatmulArguments& m) {
    multiply_panels<Panel<Q3_K>>(m);
}
void panels_q4_k(const MatmulArguments& m) {
    multiply_panels<Panel<Q4_K>>(m);
}
void panels_q5_k(const MatmulArguments& m) {
    multiply_panels<Panel<Q5_K>>(m);
}
void panels_q6_k(const MatmulArguments& m) {
    multiply_panels<Panel<Q6_K>>(m);
}

}  // namespace ingot::runtime::cpu::avx512

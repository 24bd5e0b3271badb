// Products with many tokens for the layouts whose scales each cover 32 elements; see panel_int8.h.
//
// A sum of a block's products, n, has to become a float and be multiplied with two scales. The sums start at
// the bits of the float 1.5 * 2^23, whose last bit counts 1: then they are, read as a float, 1.5 * 2^23 + n,
// and one multiply-add takes the start away while it multiplies:
//     (1.5 * 2^23 + n) * scale - 1.5 * 2^23 * scale = n * scale
// with one rounding, if 1.5 * 2^23 * scale is exact: so the last two bits of the activations' scales are
// zero.
#include "runtime/cpu/avx512/layouts_32.h"
#include "runtime/cpu/avx512/panel_int8.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kSteps = 8;                            // of a block of 32 inputs
constexpr int kPanelBlocks = kInt8PanelInputs / 32;  // 16: their factors are one vector of each row

constexpr int32_t kStartBits = 0x4b400000;
constexpr float kStartValue = 0x1.8p23f;  // the float of these bits

/// One block of 16 rows: w = scale * q + offset.
struct PanelBlock {
    __m512i quants[kSteps];  // q, signed bytes
    __m512i start;           // with kStartBits
    __m512 scale;
    __m512 offset;  // of layouts with minimums
};

/// One block of a tile's tokens: x ≈ scale * (u - 128), sum = scale * Σ (u - 128).
struct TileBlock {
    uint8_t quants[kSteps][kTileTokens][4];  // u
    float scales[kTileTokens];               // with 22 significant bits
    float starts[kTileTokens];               // -kStartValue * scale
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
            panel[i + j].start =
                _mm512_add_epi32(start_of(steps + kSteps * j, kSteps), _mm512_set1_epi32(kStartBits));
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
                                       const TileBlock* tile, int64_t n, bool is_first,
                                       TileSums<kTileTokens>& result) {
    if (is_first) clear(result);
    for (int64_t b = 0; b < n; ++b) {
        __m512i dots[kPanelVectors][kTileTokens];  // in registers
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kTileTokens; ++t) dots[v][t] = panel[v][b].start;
        }
        multiply_steps<kSteps>({panel[0][b].quants, panel[1][b].quants}, tile[b].quants, dots);
        leave_in_memory(&result);
        for (int t = 0; t < kTileTokens; ++t) {
            const __m512 scale = _mm512_set1_ps(tile[b].scales[t]);
            const __m512 start = _mm512_set1_ps(tile[b].starts[t]);
            for (int v = 0; v < kPanelVectors; ++v) {
                const __m512 scaled = _mm512_fmadd_ps(_mm512_castsi512_ps(dots[v][t]), scale, start);
                __m512 sum = _mm512_fmadd_ps(panel[v][b].scale, scaled, result.of[v][t]);
                if constexpr (kHasMin) {
                    sum = _mm512_fmadd_ps(panel[v][b].offset, _mm512_set1_ps(tile[b].sums[t]), sum);
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
            avx512::unpack<Layout>(m, row + v * kPanelLanes, input / 32, int(n / 32), panel.blocks[v]);
        }
    }
    INGOT_INLINE void multiply(const Panel& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, TileSums<kTileTokens>& sums) {
        avx512::multiply<Layout::kHasMin>(panel.blocks, reinterpret_cast<const TileBlock*>(tile) + input / 32,
                                          n / 32, is_first, sums);
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
    for (int64_t b = 0; b < n_blocks; ++b)
        pack_steps(quants + 32 * b, stride, n_tokens, kSteps, blocks[b].quants);
    for (int64_t t = 0; t < kTileTokens; ++t) {
        const ActivationRow32 x =
            activation_row_32(quants + size_t(t < n_tokens ? t : n_tokens - 1) * stride, n_in);
        for (int64_t b = 0; b < n_blocks; ++b) {
            uint32_t bits;
            __builtin_memcpy(&bits, x.scales + b, sizeof bits);
            bits = (bits + 2) & ~3u;  // rounded to 22 bits
            float scale;
            __builtin_memcpy(&scale, &bits, sizeof scale);
            blocks[b].scales[t] = scale;
            blocks[b].starts[t] = -kStartValue * scale;
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

}  // namespace ingot::runtime::cpu::avx512

// Products with many tokens for weights that are floats; see panel.h. A panel holds the weights widened to
// F32: the products and sums are those of F32 inputs, whatever the layout. (VDPBF16PS would round the
// activations to 8 bits, and is no faster where it has been measured: see bench/kernels.cpp.)
#include "runtime/cpu/avx512/layouts_plain.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

using Sums = TileSums<kTileTokens>;
using TileInput = float[kTileTokens];  // one input of a tile's tokens

struct PanelInput {  // one input of the rows
    __m512 weights[kPanelVectors];
};

/// Adds n inputs of a panel times those of a tile.
// Not inline: it needs every register.
[[gnu::noinline]] static void multiply(const PanelInput* panel, const TileInput* tile, int64_t n,
                                       bool is_first, Sums& result) {
    if (is_first) clear(result);
    __m512 sums[kPanelVectors][kTileTokens];  // in registers
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) sums[v][t] = result.of[v][t];
    }
#pragma GCC unroll 2
    for (int64_t i = 0; i < n; ++i) {
        const __m512 first = panel[i].weights[0], second = panel[i].weights[1];
        for (int t = 0; t < kTileTokens; ++t) {
            const __m512 x = _mm512_set1_ps(tile[i][t]);
            sums[0][t] = _mm512_fmadd_ps(first, x, sums[0][t]);
            sums[1][t] = _mm512_fmadd_ps(second, x, sums[1][t]);
        }
    }
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTileTokens; ++t) result.of[v][t] = sums[v][t];
    }
}

template <typename Layout>
struct Panel {
    using Sums = TileSums<kTileTokens>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kTileTokens;
    static constexpr int64_t kInputs = 128;  // 16 KiB: what fits into the first-level cache beside a tile
    PanelInput inputs[kInputs];

    INGOT_INLINE void unpack(Panel& panel, const MatmulArguments& m, int64_t row, int64_t input, int64_t n) {
        for (int v = 0; v < kPanelVectors; ++v) {
            const uint8_t* rows[kPanelLanes];
            for (int lane = 0; lane < kPanelLanes; ++lane) {
                rows[lane] = lane_row(m, row + v * kPanelLanes + lane);
            }
            for (int64_t i = 0; i < n; i += 16) {
                __m512 weights[16];
                for (int lane = 0; lane < kPanelLanes; ++lane) {
                    weights[lane] = Layout::load(lanes(n - i), rows[lane], input + i);
                }
                transpose(weights);
                for (int j = 0; j < 16; ++j) panel.inputs[i + j].weights[v] = weights[j];
            }
        }
    }
    INGOT_INLINE void multiply(const Panel& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& sums) {
        avx512::multiply(panel.inputs, reinterpret_cast<const TileInput*>(tile) + input, n, is_first, sums);
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        store_tile(m, row, token, sums);
    }
};

}  // namespace

size_t tile_bytes_plain(int64_t n_in) {
    return size_t(n_in) * sizeof(TileInput);
}

void pack_tile_plain(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    for (int64_t i = 0; i < n_in; i += 16) {
        __m512 x[16];  // of a token each
        for (int64_t t = 0; t < 16; ++t) {
            // A tile that is not full repeats its last token.
            const auto* row =
                static_cast<const uint8_t*>(rows) + size_t(t < n_tokens ? t : n_tokens - 1) * stride;
            x[t] = _mm512_maskz_loadu_ps(lanes(n_in - i), reinterpret_cast<const float*>(row) + i);
        }
        transpose(x);
        for (int64_t j = 0; j < 16 && i + j < n_in; ++j) {
            _mm512_mask_storeu_ps(static_cast<TileInput*>(tile)[i + j], lanes(kTileTokens), x[j]);
        }
    }
}

void panels_f32(const MatmulArguments& m) {
    multiply_panels<Panel<F32>>(m);
}
void panels_f16(const MatmulArguments& m) {
    multiply_panels<Panel<F16>>(m);
}
void panels_bf16(const MatmulArguments& m) {
    multiply_panels<Panel<BF16>>(m);
}

}  // namespace ingot::runtime::cpu::avx512

// Products with many tokens for weights that are floats; see runtime/cpu/panels.h. A panel holds the weights
// widened to F32: the products and sums are those of F32 inputs, whatever the layout.
#include "runtime/cpu/avx2/layouts_plain.h"
#include "runtime/cpu/avx2/panel.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

using TileInput = float[kPlainTileTokens];  // one input of a tile's tokens

struct PanelInput {  // one input of the rows
    __m256 weights[kPanelVectors];
};

/// Adds n inputs of a panel times those of a tile.
// Not inline: it needs every register.
[[gnu::noinline]] static void multiply(const PanelInput* panel, const TileInput* tile, int64_t n,
                                       bool is_first, TileSums<kPlainTileTokens>& result) {
    if (is_first) clear(result);
    __m256 sums[kPanelVectors][kPlainTileTokens];  // in registers
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kPlainTileTokens; ++t) sums[v][t] = result.of[v][t];
    }
#pragma GCC unroll 4
    for (int64_t i = 0; i < n; ++i) {
        const __m256 first = panel[i].weights[0], second = panel[i].weights[1];
        for (int t = 0; t < kPlainTileTokens; ++t) {
            const __m256 x = _mm256_broadcast_ss(&tile[i][t]);
            sums[0][t] = _mm256_fmadd_ps(first, x, sums[0][t]);
            sums[1][t] = _mm256_fmadd_ps(second, x, sums[1][t]);
        }
    }
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kPlainTileTokens; ++t) result.of[v][t] = sums[v][t];
    }
}

template <typename Layout>
struct Panel {
    using Sums = TileSums<kPlainTileTokens>;
    static constexpr int64_t kRows = kPanelRows, kTokens = kPlainTileTokens;
    static constexpr int64_t kInputs = 256;  // 16 KiB: what fits into the first-level cache beside a tile
    PanelInput inputs[kInputs];

    INGOT_INLINE void unpack(Panel& panel, const MatmulArguments& m, int64_t row, int64_t input, int64_t n) {
        for (int v = 0; v < kPanelVectors; ++v) {
            const uint8_t* rows[kPanelLanes];
            for (int lane = 0; lane < kPanelLanes; ++lane) {
                rows[lane] = lane_row(m, row + v * kPanelLanes + lane);
            }
            for (int64_t i = 0; i < n; i += 8) {
                __m256 weights[8];
                for (int lane = 0; lane < kPanelLanes; ++lane) {
                    weights[lane] = i + 8 <= n ? Layout::load(rows[lane], input + i)
                                               : Layout::load(rows[lane], input + i, n - i);
                }
                transpose(weights);
                for (int j = 0; j < 8; ++j) panel.inputs[i + j].weights[v] = weights[j];
            }
        }
    }
    INGOT_INLINE void multiply(const Panel& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& sums) {
        avx2::multiply(panel.inputs, reinterpret_cast<const TileInput*>(tile) + input, n, is_first, sums);
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
    auto* const inputs = static_cast<TileInput*>(tile);
    for (int64_t t = 0; t < kPlainTileTokens; ++t) {
        // A tile that is not full repeats its last token.
        const auto* row = reinterpret_cast<const float*>(static_cast<const uint8_t*>(rows) +
                                                         size_t(t < n_tokens ? t : n_tokens - 1) * stride);
        for (int64_t i = 0; i < n_in; ++i) inputs[i][t] = row[i];
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

}  // namespace ingot::runtime::cpu::avx2

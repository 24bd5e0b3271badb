// Products with many tokens for weights that are floats; see runtime/cpu/panels.h. A panel holds the weights
// widened to F32: the products and sums are those of F32 inputs, whatever the layout.
#include "runtime/cpu/neon/layouts_plain.h"
#include "runtime/cpu/panels.h"

namespace ingot::runtime::cpu::neon {
namespace {

constexpr int kPanelRows = 8;
constexpr int kPanelVectors = kPanelRows / 4;

struct PanelInput {  // one input of the rows
    float weights[kPanelRows];
};
using TileInput = float[kPlainTileTokens];  // one input of a tile's tokens

struct TileSums {
    float32x4_t of[kPanelVectors][kPlainTileTokens];
};

/// sums += one vector of rows times 8 tokens.
INGOT_INLINE void multiply_input(float32x4_t rows, const float32x4_t (&x)[2], float32x4_t (&sums)[8]) {
    sums[0] = vfmaq_laneq_f32(sums[0], rows, x[0], 0);
    sums[1] = vfmaq_laneq_f32(sums[1], rows, x[0], 1);
    sums[2] = vfmaq_laneq_f32(sums[2], rows, x[0], 2);
    sums[3] = vfmaq_laneq_f32(sums[3], rows, x[0], 3);
    sums[4] = vfmaq_laneq_f32(sums[4], rows, x[1], 0);
    sums[5] = vfmaq_laneq_f32(sums[5], rows, x[1], 1);
    sums[6] = vfmaq_laneq_f32(sums[6], rows, x[1], 2);
    sums[7] = vfmaq_laneq_f32(sums[7], rows, x[1], 3);
}

template <typename Layout>
struct Panel {
    using Sums = TileSums;
    static constexpr int64_t kRows = kPanelRows, kTokens = kPlainTileTokens;
    static constexpr int64_t kInputs = 512;  // 16 KiB: what fits into the first-level cache beside a tile
    PanelInput inputs[kInputs];

    INGOT_INLINE void unpack(Panel& panel, const MatmulArguments& m, int64_t row, int64_t input,
                             int64_t size) {
        for (int lane = 0; lane < kPanelRows; ++lane) {
            const uint8_t* const weights = lane_row(m, row + lane);
            for_each_4(size, [&](int64_t i, int64_t n) {
                const float32x4_t four = Layout::load(weights, input + i, n);
                for (int64_t j = 0; j < n; ++j) panel.inputs[i + j].weights[lane] = four[j];
            });
        }
    }
    INGOT_INLINE void multiply(const Panel& panel, const uint8_t* tile, int64_t input, int64_t n,
                               bool is_first, Sums& result) {
        const auto* const x = reinterpret_cast<const TileInput*>(tile) + input;
        Sums sums;  // in registers
        for (int v = 0; v < kPanelVectors; ++v) {
            for (int t = 0; t < kPlainTileTokens; ++t) {
                sums.of[v][t] = is_first ? vdupq_n_f32(0) : result.of[v][t];
            }
        }
        for (int64_t i = 0; i < n; ++i) {
            const float32x4_t tokens[2] = {vld1q_f32(x[i]), vld1q_f32(x[i] + 4)};
            for (int v = 0; v < kPanelVectors; ++v) {
                multiply_input(vld1q_f32(panel.inputs[i].weights + 4 * v), tokens, sums.of[v]);
            }
        }
        result = sums;
    }
    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        for (int v = 0; v < kPanelVectors; ++v) {
            const int64_t n_rows = m.n_rows - row - 4 * v;
            if (n_rows <= 0) break;
            for (int t = 0; t < kPlainTileTokens && token + t < m.n_tokens; ++t) {
                store_floats(m.output + (token + t) * m.output_stride + row + 4 * v, sums.of[v][t], n_rows);
            }
        }
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

}  // namespace ingot::runtime::cpu::neon

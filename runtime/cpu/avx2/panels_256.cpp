#include "runtime/cpu/avx2/panels_256.h"

namespace ingot::runtime::cpu::avx2 {

size_t tile_bytes_256(int64_t n_in) {
    return size_t(n_in / 256) * sizeof(TileBlock256);
}

void pack_tile_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* blocks = static_cast<TileBlock256*>(tile);
    const int64_t n_blocks = n_in / 256;
    const auto* x = static_cast<const ActivationBlock256*>(rows);
    for (int64_t b = 0; b < n_blocks; ++b) {
        for (int step = 0; step < kSteps256; step += 8) {
            pack_steps(x[b].quants + 4 * step, stride, n_tokens, blocks[b].quants + step);
        }
        for (int group = 0; group < 16; ++group) {
            add_lanes_of(blocks[b].quants + 4 * group, 4, blocks[b].lane_sums[group]);
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
    multiply_panels<Panel256<PairProducts, Q2_K>>(m);
}
void panels_q3_k(const MatmulArguments& m) {
    multiply_panels<Panel256<PairProducts, Q3_K>>(m);
}
void panels_q4_k(const MatmulArguments& m) {
    multiply_panels<Panel256<PairProducts, Q4_K>>(m);
}
void panels_q5_k(const MatmulArguments& m) {
    multiply_panels<Panel256<PairProducts, Q5_K>>(m);
}
void panels_q6_k(const MatmulArguments& m) {
    multiply_panels<Panel256<PairProducts, Q6_K>>(m);
}

}  // namespace ingot::runtime::cpu::avx2

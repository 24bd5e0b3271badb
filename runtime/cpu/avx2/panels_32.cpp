#include "runtime/cpu/avx2/panels_32.h"

namespace ingot::runtime::cpu::avx2 {

size_t tile_bytes_32(int64_t n_in) {
    return size_t(n_in / 32) * sizeof(TileBlock32);
}

void pack_tile_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    auto* blocks = static_cast<TileBlock32*>(tile);
    const int64_t n_blocks = n_in / 32;
    const auto* quants = static_cast<const int8_t*>(rows);
    for (int64_t b = 0; b < n_blocks; ++b) {
        pack_steps(quants + 32 * b, stride, n_tokens, blocks[b].quants);
        add_lanes_of(blocks[b].quants, kSteps32, blocks[b].lane_sums);
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
    multiply_panels<Panel32<PairProducts, Q4_0>>(m);
}
void panels_q4_1(const MatmulArguments& m) {
    multiply_panels<Panel32<PairProducts, Q4_1>>(m);
}
void panels_q5_0(const MatmulArguments& m) {
    multiply_panels<Panel32<PairProducts, Q5_0>>(m);
}
void panels_q5_1(const MatmulArguments& m) {
    multiply_panels<Panel32<PairProducts, Q5_1>>(m);
}
void panels_q8_0(const MatmulArguments& m) {
    multiply_panels<Panel32<PairProducts, Q8_0>>(m);
}
void panels_iq4_nl(const MatmulArguments& m) {
    multiply_panels<Panel32<PairProducts, IQ4_NL>>(m);
}
void panels_iq4_xs(const MatmulArguments& m) {
    multiply_panels<Panel32<PairProducts, IQ4_XS>>(m);
}

}  // namespace ingot::runtime::cpu::avx2

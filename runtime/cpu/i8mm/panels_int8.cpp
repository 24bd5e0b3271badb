// Products with many tokens for quantized weights, by products of small matrices; see neon/panel.h.
#include "runtime/cpu/i8mm/i8mm.h"
#include "runtime/cpu/neon/panel.h"

namespace ingot::runtime::cpu::i8mm {

using namespace neon;

size_t tile_bytes_32(int64_t n_in) {
    return size_t(n_in / 32) * sizeof(TileBlock32<MatrixProducts>);
}
void pack_tile_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    pack_tile_of_32<MatrixProducts>(rows, stride, n_tokens, n_in, tile);
}

size_t tile_bytes_256(int64_t n_in) {
    return size_t(n_in / 256) * sizeof(TileBlock256<MatrixProducts>);
}
void pack_tile_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile) {
    pack_tile_of_256<MatrixProducts>(rows, stride, n_tokens, n_in, tile);
}

void panels_q4_0(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::Q4_0>>(m);
}
void panels_q4_1(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::Q4_1>>(m);
}
void panels_q5_0(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::Q5_0>>(m);
}
void panels_q5_1(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::Q5_1>>(m);
}
void panels_q8_0(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::Q8_0>>(m);
}
void panels_iq4_nl(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::IQ4_NL>>(m);
}
void panels_iq4_xs(const MatmulArguments& m) {
    multiply_panels<Panel32<MatrixProducts, neon::IQ4_XS>>(m);
}
void panels_q2_k(const MatmulArguments& m) {
    multiply_panels<Panel256<MatrixProducts, neon::Q2_K>>(m);
}
void panels_q3_k(const MatmulArguments& m) {
    multiply_panels<Panel256<MatrixProducts, neon::Q3_K>>(m);
}
void panels_q4_k(const MatmulArguments& m) {
    multiply_panels<Panel256<MatrixProducts, neon::Q4_K>>(m);
}
void panels_q5_k(const MatmulArguments& m) {
    multiply_panels<Panel256<MatrixProducts, neon::Q5_K>>(m);
}
void panels_q6_k(const MatmulArguments& m) {
    multiply_panels<Panel256<MatrixProducts, neon::Q6_K>>(m);
}

}  // namespace ingot::runtime::cpu::i8mm

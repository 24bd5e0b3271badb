#pragma once
// The AVX-512 kernels by name (see the fields of Kernels), and what their sources have in common. Everything
// that is defined here is static: these sources are compiled with raised flags, and nothing of theirs may be
// the copy that the linker keeps for the rest of the program.
#include <immintrin.h>

#include "runtime/cpu/tiles.h"

namespace ingot::runtime::cpu::avx512 {

void matmul_f32(const MatmulArguments&);
void matmul_f16(const MatmulArguments&);
void matmul_bf16(const MatmulArguments&);
void matmul_q4_0(const MatmulArguments&);
void matmul_q4_1(const MatmulArguments&);
void matmul_q5_0(const MatmulArguments&);
void matmul_q5_1(const MatmulArguments&);
void matmul_q8_0(const MatmulArguments&);
void matmul_iq4_nl(const MatmulArguments&);
void matmul_iq4_xs(const MatmulArguments&);
void matmul_q2_k(const MatmulArguments&);
void matmul_q3_k(const MatmulArguments&);
void matmul_q4_k(const MatmulArguments&);
void matmul_q5_k(const MatmulArguments&);
void matmul_q6_k(const MatmulArguments&);

// The same products with many tokens; see panel.h.
void panels_f32(const MatmulArguments&);
void panels_f16(const MatmulArguments&);
void panels_bf16(const MatmulArguments&);
void panels_q4_0(const MatmulArguments&);
void panels_q4_1(const MatmulArguments&);
void panels_q5_0(const MatmulArguments&);
void panels_q5_1(const MatmulArguments&);
void panels_q8_0(const MatmulArguments&);
void panels_iq4_nl(const MatmulArguments&);
void panels_iq4_xs(const MatmulArguments&);
void panels_q2_k(const MatmulArguments&);
void panels_q3_k(const MatmulArguments&);
void panels_q4_k(const MatmulArguments&);
void panels_q5_k(const MatmulArguments&);
void panels_q6_k(const MatmulArguments&);
// Of a tile: 2 × 12 sums, 2 vectors of weights and one of activations are 27 registers. Fewer sums would wait
// for each other: two units with a latency of 5 cycles need 10 that are ready at any time.
constexpr int kTileTokens = 12;
size_t tile_bytes_plain(int64_t n_in);
size_t tile_bytes_32(int64_t n_in);
size_t tile_bytes_256(int64_t n_in);
void pack_tile_plain(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);
void pack_tile_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);
void pack_tile_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);

void quantize_q8_0(const float* x, void* row, int64_t n);
void quantize_q8_k(const float* x, void* row, int64_t n);
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t n);
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n);
void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n);
void soft_cap(float* x, float cap, int64_t n);
void add(const float* x, float* y, int64_t n);
void to_half(const float* x, uint16_t* y, int64_t n);
void attention(const AttentionArguments&);
void attention_block(const AttentionBlockArguments&);
size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim);

/// The lanes that hold something when `n` elements are left: all 16, or the lower n.
[[maybe_unused]] static inline __mmask16 lanes(int64_t n) {
    return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1);
}

}  // namespace ingot::runtime::cpu::avx512

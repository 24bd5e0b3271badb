#pragma once
// What processors with AMX do in another way than those with AVX-512 alone: products with many tokens, whose
// numbers are BF16 and whose sums are F32. Everything else is AVX-512's.
//
// A tile register is 16 rows of 64 bytes. TDPBF16PS adds to a tile of 16 × 16 sums the products of 16 tokens'
// and 16 outputs' 32 inputs: 8192 multiplications in 16 cycles.
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::amx {

void matrix_f32(const MatmulArguments&);
void matrix_f16(const MatmulArguments&);
void matrix_bf16(const MatmulArguments&);
void matrix_q4_0(const MatmulArguments&);
void matrix_q4_1(const MatmulArguments&);
void matrix_q5_0(const MatmulArguments&);
void matrix_q5_1(const MatmulArguments&);
void matrix_q8_0(const MatmulArguments&);
void matrix_iq4_nl(const MatmulArguments&);
void matrix_iq4_xs(const MatmulArguments&);
void matrix_q2_k(const MatmulArguments&);
void matrix_q3_k(const MatmulArguments&);
void matrix_q4_k(const MatmulArguments&);
void matrix_q5_k(const MatmulArguments&);
void matrix_q6_k(const MatmulArguments&);

void attention_block(const AttentionBlockArguments&);
size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim);

constexpr int kTileTokens = 32;
// With activations rounded to BF16, and as sums of two BF16.
size_t tile_bytes_rounded(int64_t n_in);
size_t tile_bytes_split(int64_t n_in);
void pack_tile_rounded(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);
void pack_tile_split(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);

}  // namespace ingot::runtime::cpu::amx

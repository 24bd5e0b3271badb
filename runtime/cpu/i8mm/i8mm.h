#pragma once
// What the processors with SMMLA (products of 2 × 8 matrices of bytes: ARMv8.6, Apple M2 and later) do in
// another way than those with dot products alone. Everything else is NEON's.
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::i8mm {

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
size_t tile_bytes_32(int64_t n_in);
size_t tile_bytes_256(int64_t n_in);
void pack_tile_32(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);
void pack_tile_256(const void* rows, size_t stride, int64_t n_tokens, int64_t n_in, void* tile);

}  // namespace ingot::runtime::cpu::i8mm

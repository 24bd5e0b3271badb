#pragma once
// The scalar kernels by name; see the fields of Kernels for what each does.
#include "runtime/cpu/kernels.h"

namespace ingot::runtime::cpu::scalar {

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

void quantize_q8_0(const float* x, void* row, int64_t n);
void quantize_q8_k(const float* x, void* row, int64_t n);
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t n);
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n);
void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n);
void soft_cap(float* x, float cap, int64_t n);
void add(const float* x, float* y, int64_t n);
void to_half(const float* x, uint16_t* y, int64_t n);
void attention(const AttentionArguments&);

}  // namespace ingot::runtime::cpu::scalar

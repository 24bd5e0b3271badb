#pragma once
// The NEON kernels by name (see the fields of Kernels), and what their sources have in common. They need the
// dot-product instructions (SDOT: ARMv8.2 and later, every Apple processor). Everything that is defined here
// is static: these sources are compiled with raised flags, and nothing of theirs may be the copy that the
// linker keeps for the rest of the program.
#include <arm_neon.h>

#include "runtime/cpu/tiles.h"

namespace ingot::runtime::cpu::neon {

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
constexpr int kTileTokens = 4, kPlainTileTokens = 8;
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

/// 4 floats, or the first n ≤ 4 and zeros.
INGOT_INLINE float32x4_t load_floats(const float* from, int64_t n) {
    if (n >= 4) return vld1q_f32(from);
    float some[4] = {};
    for (int64_t i = 0; i < n; ++i) some[i] = from[i];
    return vld1q_f32(some);
}
INGOT_INLINE void store_floats(float* to, float32x4_t v, int64_t n) {
    if (n >= 4) return vst1q_f32(to, v);
    float some[4];
    vst1q_f32(some, v);
    for (int64_t i = 0; i < n; ++i) to[i] = some[i];
}

/// 4 halves as floats, or the first n ≤ 4 and zeros, from any address.
INGOT_INLINE float32x4_t load_halves(const void* from, int64_t n) {
    uint64_t bits = 0;
    if (n >= 4)
        __builtin_memcpy(&bits, from, sizeof bits);
    else
        __builtin_memcpy(&bits, from, size_t(n) * sizeof(uint16_t));
    return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(bits)));
}

/// One half.
INGOT_INLINE float to_float(uint16_t half) {
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half))), 0);
}

/// step(i, n) for i = 0, 4, 8, … below `size`; n is 4, and at the end what is left.
template <typename Step>
INGOT_INLINE void for_each_4(int64_t size, const Step& step) {
    int64_t i = 0;
    for (; i + 4 <= size; i += 4) step(i, int64_t(4));
    if (i < size) step(i, size - i);
}

}  // namespace ingot::runtime::cpu::neon

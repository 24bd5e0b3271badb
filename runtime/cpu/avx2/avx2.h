#pragma once
// The AVX2 kernels by name (see the fields of Kernels), and what their sources have in common. Everything
// that is defined here is static: these sources are compiled with raised flags, and nothing of theirs may be
// the copy that the linker keeps for the rest of the program.
#include <immintrin.h>

#include "runtime/cpu/tiles.h"

namespace ingot::runtime::cpu::avx2 {

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
constexpr int kTileTokens = 4, kPlainTileTokens = 6;  // see panel.h
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

/// All bits set in the lower n of 8 lanes, 0 ≤ n ≤ 8: the mask of a partial load or store.
[[maybe_unused]] static inline __m256i lanes(int64_t n) {
    alignas(64) static constexpr int32_t kMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - n));
}

/// 8 halves as floats; the second form loads only n ≤ 8 and zeros.
INGOT_INLINE __m256 load_half(const void* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}
INGOT_INLINE __m256 load_half(const void* from, int64_t n) {
    alignas(16) uint16_t halves[8] = {};
    __builtin_memcpy(halves, from, size_t(n) * sizeof(uint16_t));
    return load_half(halves);
}

/// How a loop over vectors of 8 touches memory: all lanes, or at the end only the first few.
struct Whole {
    INGOT_INLINE __m256 load(const float* from) { return _mm256_loadu_ps(from); }
    INGOT_INLINE void store(float* to, __m256 v) { _mm256_storeu_ps(to, v); }
};
struct Partial {
    __m256i mask;
    __m256 load(const float* from) const { return _mm256_maskload_ps(from, mask); }
    void store(float* to, __m256 v) const { _mm256_maskstore_ps(to, mask, v); }
};

/// step(memory, i) for i = 0, 8, 16, … below n
template <typename Step>
INGOT_INLINE void for_each_8(int64_t n, const Step& step) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) step(Whole(), i);
    if (i < n) step(Partial{lanes(n - i)}, i);
}

/// The sum of the lanes.
INGOT_INLINE float add_lanes(__m256 v) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

}  // namespace ingot::runtime::cpu::avx2

#pragma once
// The AVX2 kernels by name (see the fields of Kernels), and what their sources have in common. Everything
// that is defined here is static: these sources are compiled with raised flags, and nothing of theirs may be
// the copy that the linker keeps for the rest of the program.
#include <immintrin.h>

#include "runtime/cpu/kernels.h"

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

void quantize_q8_0(const float* x, void* row, int64_t n);
void quantize_q8_k(const float* x, void* row, int64_t n);
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t n);
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n);
void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n);
void soft_cap(float* x, float cap, int64_t n);
void add(const float* x, float* y, int64_t n);
void to_half(const float* x, uint16_t* y, int64_t n);
void attention(const AttentionArguments&);

/// For the innermost functions: a call would spill every vector register.
#define INGOT_INLINE [[gnu::always_inline, maybe_unused]] static inline

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

[[maybe_unused]] static inline const uint8_t* row_of(const MatmulArguments& m, int64_t row) {
    return static_cast<const uint8_t*>(m.weights) + size_t(row) * m.weight_stride;
}

[[maybe_unused]] static inline const uint8_t* activations_of(const MatmulArguments& m, int64_t token) {
    return static_cast<const uint8_t*>(m.activations) + size_t(token) * m.activation_stride;
}

/// How far ahead of the arithmetic weights are fetched when each is used once, bytes.
constexpr int64_t kPrefetchBytes = 2048;

/// Fetches the cache lines of n bytes. Any address will do.
INGOT_INLINE void prefetch(const uint8_t* from, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += 64) _mm_prefetch(from + i, _MM_HINT_T0);
}

/// Tiles of Tiles::kRows<T> rows, which lie `spacing` rows apart, and T tokens. For one token the rows are
/// far apart on purpose: as many streams keep as many of the memory's pages busy (measured: four streams read
/// almost twice as fast as one).
template <int T, typename Tiles>
static inline void for_each_row(const MatmulArguments& m, const Tiles& tiles, int64_t first, int64_t last,
                                int64_t token) {
    constexpr int R = Tiles::template kRows<T>;
    const int64_t spacing = (last - first) / R;
    for (int64_t row = first; row < first + spacing; ++row) tiles.template run<R, T>(m, row, spacing, token);
    for (int64_t row = first + R * spacing; row < last; ++row) tiles.template run<1, T>(m, row, 0, token);
}

/// Covers all outputs with tiles. With one token the rows are streamed from memory once. With many, a panel
/// of rows that stays in the second-level cache meets all tokens, 8 (their activations in the first-level
/// cache) at a time, so that a row is unpacked once for each 8 tokens.
template <typename Tiles>
static inline void for_each_tile(const MatmulArguments& m, const Tiles& tiles) {
    constexpr size_t kPanelBytes = 256 << 10;
    int64_t panel = int64_t(kPanelBytes / (m.weight_stride + 1)) + 1;  // rows
    if (m.n_tokens == 1) panel = m.n_rows;
    for (int64_t first = 0; first < m.n_rows; first += panel) {
        const int64_t last = first + panel < m.n_rows ? first + panel : m.n_rows;
        int64_t token = 0;
        for (; token + 8 <= m.n_tokens; token += 8) for_each_row<8>(m, tiles, first, last, token);
        for (; token + 4 <= m.n_tokens; token += 4) for_each_row<4>(m, tiles, first, last, token);
        for (; token + 2 <= m.n_tokens; token += 2) for_each_row<2>(m, tiles, first, last, token);
        for (; token < m.n_tokens; ++token) for_each_row<1>(m, tiles, first, last, token);
    }
}

}  // namespace ingot::runtime::cpu::avx2

#pragma once
// The AVX-512 kernels by name (see the fields of Kernels), and what their sources have in common. Everything
// that is defined here is static: these sources are compiled with raised flags, and nothing of theirs may be
// the copy that the linker keeps for the rest of the program.
#include <immintrin.h>

#include "runtime/cpu/kernels.h"

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

/// For the innermost functions: a call would spill every vector register.
#define INGOT_INLINE [[gnu::always_inline, maybe_unused]] static inline

/// The lanes that hold something when `n` elements are left: all 16, or the lower n.
[[maybe_unused]] static inline __mmask16 lanes(int64_t n) {
    return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1);
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

}  // namespace ingot::runtime::cpu::avx512

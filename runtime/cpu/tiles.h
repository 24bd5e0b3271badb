#pragma once
// How the products of every fast instruction set walk over their outputs. Everything here is static: the
// sources that include it are compiled with raised flags, and nothing of theirs may be the copy that the
// linker keeps for the rest of the program.
#include "runtime/cpu/kernels.h"

namespace ingot::runtime::cpu {

/// For the innermost functions: a call would spill every vector register.
#define INGOT_INLINE [[gnu::always_inline, maybe_unused]] static inline

[[maybe_unused]] static inline const uint8_t* row_of(const MatmulArguments& m, int64_t row) {
    return static_cast<const uint8_t*>(m.weights) + size_t(row) * m.weight_stride;
}

/// The row of a panel's lane: beyond the last row, the last one again, whose output is not stored.
INGOT_INLINE const uint8_t* lane_row(const MatmulArguments& m, int64_t row) {
    return row_of(m, row < m.n_rows ? row : m.n_rows - 1);
}

[[maybe_unused]] static inline const uint8_t* activations_of(const MatmulArguments& m, int64_t token) {
    return static_cast<const uint8_t*>(m.activations) + size_t(token) * m.activation_stride;
}

/// How far ahead of the arithmetic weights are fetched when each is used once, bytes.
constexpr int64_t kPrefetchBytes = 2048;

/// Fetches the cache lines of n bytes. Any address will do.
INGOT_INLINE void prefetch(const uint8_t* from, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += 64) __builtin_prefetch(from + i);
}

/// Fetches what one head has at a position of the cache some positions on: positions lie too far apart for
/// the processor's own prefetchers.
INGOT_INLINE void prefetch_position(const void* first, size_t stride_bytes, size_t n_bytes, int64_t p) {
    constexpr int64_t kAhead = 16;
    prefetch(static_cast<const uint8_t*>(first) + size_t(p + kAhead) * stride_bytes, n_bytes);
}

/// Tiles of Tiles::kRows<T> rows, which lie `spacing` rows apart, and T tokens. For one token the rows are
/// far apart on purpose: see kStreams.
template <int T, typename Tiles>
static inline void for_each_row(const MatmulArguments& m, const Tiles& tiles, int64_t first, int64_t last,
                                int64_t token) {
    constexpr int R = Tiles::template kRows<T>;
    const int64_t spacing = (last - first) / R;
    for (int64_t row = first; row < first + spacing; ++row) tiles.template run<R, T>(m, row, spacing, token);
    for (int64_t row = first + R * spacing; row < last; ++row) tiles.template run<1, T>(m, row, 0, token);
}

template <typename Tiles>
static inline void for_each_row_of_streams(const MatmulArguments& m, const Tiles& tiles) {
    constexpr int R = Tiles::template kRows<1>;
    static_assert(kStreams % R == 0);
    for (int64_t row = 0; row < m.n_rows; ++row) {
        for (int64_t stream = 0; stream < kStreams; stream += R)
            tiles.template run<R, 1>(m, row + stream * m.spacing, m.spacing, 0);
    }
}

/// Covers all outputs with tiles. With one token the rows are streamed from memory once. With many, a panel
/// of rows that stays in the second-level cache meets all tokens, 8 (their activations in the first-level
/// cache) at a time, so that a row is unpacked once for each 8 tokens.
template <typename Tiles>
static inline void for_each_tile(const MatmulArguments& m, const Tiles& tiles) {
    if (m.spacing != 0) return for_each_row_of_streams(m, tiles);
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

}  // namespace ingot::runtime::cpu

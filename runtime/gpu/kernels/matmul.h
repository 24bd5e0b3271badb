#pragma once
// Products by weights. A warp computes one output row for one token (matvec_*) or for eight (matmul_*), which
// share the weights that it decodes.
#include "arguments.h"
#include "layouts.h"
#include "quantize.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// A sum for each of several tokens.
template <int n_tokens>
struct Sums {
    float of[n_tokens];
};

/// A run of 16 weights by 16 activations in 8 bits.
FUNCTION int dot_run(LOCAL(const Unit) unit, int r, uint4 x) {
    int dot = dot4(unit.q[4 * r + 0], x.x, 0);
    dot = dot4(unit.q[4 * r + 1], x.y, dot);
    dot = dot4(unit.q[4 * r + 2], x.z, dot);
    return dot4(unit.q[4 * r + 3], x.w, dot);
}

/// One weight of a unit: element i of run r.
FUNCTION float weight_of(LOCAL(const Unit) unit, int r, int i) {
    return unit.scale[r] * float(int8_t(byte_of(unit.q[4 * r + i / 4], i % 4))) - unit.min[r];
}

/// A lane's share of a row (n) of blocks by the rows x[token …], as many as there are.
template <typename Layout, int n_tokens, typename Arguments>
FUNCTION Sums<n_tokens> dot_blocks(ARGUMENTS(Arguments) a, Thread me, GLOBAL(const uint8_t) row_bytes,
                                   int64_t token, int n_present) {
    Sums<n_tokens> sums;
    for (int t = 0; t < n_tokens; ++t) sums.of[t] = 0.0f;
    const Row row = {row_bytes, a.n / Layout::kElements};
    for (int i = int(me.lane()); i < a.n / 32; i += 32) {
        const int block = i / Layout::kUnits, u = i % Layout::kUnits;
        const Unit unit = Layout::take(row, block, u);
        for (int r = 0; r < 2; ++r) {
            const int element = block * Layout::kElements + Layout::run(u, r);
            for (int t = 0; t < n_tokens; ++t) {
                if (t >= n_present) break;
                const int64_t at = (token + t) * a.n + element;
                if (Layout::kWantsFloats) {
                    for (int j = 0; j < 16; ++j)
                        sums.of[t] = fma(weight_of(unit, r, j), float(a.x[at + j]), sums.of[t]);
                } else {
                    const float dot = float(dot_run(unit, r, load<uint4>(a.quants + at)));
                    float part = unit.scale[r] * dot;
                    if (Layout::kHasMin) part -= unit.min[r] * a.sums[at / 16];
                    sums.of[t] = fma(float(a.scales[at / 32]), part, sums.of[t]);
                }
            }
        }
    }
    return sums;
}

/// The same for a row of numbers. Rows of weights are padded to 16 bytes, rows of x are not.
template <typename Layout, int n_tokens, typename Arguments>
FUNCTION Sums<n_tokens> dot_numbers(ARGUMENTS(Arguments) a, Thread me, GLOBAL(const uint8_t) row,
                                    int64_t token, int n_present) {
    Sums<n_tokens> sums;
    for (int t = 0; t < n_tokens; ++t) sums.of[t] = 0.0f;
    const bool aligned = a.n % 4 == 0;
    for (int i = int(me.lane()) * Layout::kAtOnce; i < a.n; i += 32 * Layout::kAtOnce) {
        const uint4 weights = load<uint4>(row + int64_t(i) * Layout::kBytes);
        for (int t = 0; t < n_tokens; ++t) {
            if (t >= n_present) break;
            GLOBAL(const float) x = a.x + (token + t) * a.n + i;
            for (int j = 0; j < Layout::kAtOnce; j += 4) {
                if (aligned && i + j < a.n) {
                    const uint4 words = load<uint4>(x + j);
                    for (int k = 0; k < 4; ++k)
                        sums.of[t] = fma(Layout::at(weights, j + k), float_of(word_of(words, k)), sums.of[t]);
                } else {
                    for (int k = 0; k < 4 && i + j + k < a.n; ++k)
                        sums.of[t] = fma(Layout::at(weights, j + k), float(x[j + k]), sums.of[t]);
                }
            }
        }
    }
    return sums;
}

/// What the lanes of a warp have found, to y.
template <int n_tokens>
FUNCTION void write_sums(ARGUMENTS(MatmulArguments) a, Thread me, Sums<n_tokens> sums, int row, int64_t token,
                         int n_present, int64_t bias_row) {
    for (int t = 0; t < n_tokens; ++t) {
        const float sum = me.lane_sum(sums.of[t]);
        if (t < n_present && me.lane() == 0)
            a.y[(token + t) * a.n_out + row] = a.bias ? sum + a.bias[bias_row] : sum;
    }
}

/// The output row of a warp; those after the last have none.
FUNCTION int row_of(Thread me) {
    return int(me.x * me.n_warps() + me.warp());
}

// One token. With experts the matrix is the slot's, and so is the bias.
#define MATVEC(layout, dot)                                                                    \
    KERNEL(matvec_##layout, MatmulArguments) {                                                 \
        const int row = row_of(me);                                                            \
        if (row >= a.n_out) return;                                                            \
        const int64_t slot = me.y;                                                             \
        const int64_t matrix_row = (a.experts ? int64_t(a.experts[slot]) * a.n_out : 0) + row; \
        const Sums<1> sums =                                                                   \
            dot<layout, 1>(a, me, a.weights + matrix_row * a.row_bytes, slot / a.n_slots, 1);  \
        write_sums<1>(a, me, sums, row, slot, 1, matrix_row);                                  \
    }

// One token by several matrices.
#define MATVECS(layout, dot)                                                                                 \
    KERNEL(matvecs_##layout, MatvecsArguments) {                                                             \
        int64_t row = row_of(me);                                                                            \
        int part = 0;                                                                                        \
        while (part < 2 && row >= a.parts[part].n_out) row -= a.parts[part++].n_out;                         \
        if (row >= a.parts[part].n_out) return;                                                              \
        const Sums<1> sums =                                                                                 \
            dot<layout, 1>(a, me, a.parts[part].weights + row * a.parts[part].row_bytes, 0, 1);              \
        const float sum = me.lane_sum(sums.of[0]);                                                           \
        if (me.lane() == 0) a.parts[part].y[row] = a.parts[part].bias ? sum + a.parts[part].bias[row] : sum; \
    }

// kTokensAtOnce tokens.
#define MATMUL(layout, dot)                                                                     \
    KERNEL(matmul_##layout, MatmulArguments) {                                                  \
        const int row = row_of(me);                                                             \
        if (row >= a.n_out) return;                                                             \
        const int64_t token = int64_t(me.y) * kTokensAtOnce;                                    \
        const int n_present = int(min(int64_t(kTokensAtOnce), a.n_tokens - token));             \
        const Sums<kTokensAtOnce> sums =                                                        \
            dot<layout, kTokensAtOnce>(a, me, a.weights + row * a.row_bytes, token, n_present); \
        write_sums<kTokensAtOnce>(a, me, sums, row, token, n_present, row);                     \
    }

template <typename Layout>
FUNCTION float number_at(GLOBAL(const uint8_t) row, int i) {
    return Layout::at(load<uint4>(row + i / Layout::kAtOnce * 16), i % Layout::kAtOnce);
}

// A group decodes a row.
#define EMBED_BLOCKS(layout)                                                                            \
    KERNEL(embed_##layout, EmbedArguments) {                                                            \
        const Row row = {a.weights + int64_t(a.tokens[me.x]) * a.row_bytes, a.n / layout::kElements};   \
        for (int i = int(me.index); i < a.n / 32; i += int(me.n_threads)) {                             \
            const int block = i / layout::kUnits, u = i % layout::kUnits;                               \
            const Unit unit = layout::take(row, block, u);                                              \
            for (int r = 0; r < 2; ++r) {                                                               \
                const int64_t at = int64_t(me.x) * a.n + block * layout::kElements + layout::run(u, r); \
                for (int j = 0; j < 16; ++j) a.y[at + j] = weight_of(unit, r, j);                       \
            }                                                                                           \
        }                                                                                               \
    }
#define EMBED_NUMBERS(layout)                                                          \
    KERNEL(embed_##layout, EmbedArguments) {                                           \
        GLOBAL(const uint8_t) row = a.weights + int64_t(a.tokens[me.x]) * a.row_bytes; \
        for (int i = int(me.index); i < a.n; i += int(me.n_threads))                   \
            a.y[int64_t(me.x) * a.n + i] = number_at<layout>(row, i);                  \
    }

#define KERNELS_OF_BLOCKS(layout) \
    MATVEC(layout, dot_blocks) MATVECS(layout, dot_blocks) MATMUL(layout, dot_blocks) EMBED_BLOCKS(layout)
#define KERNELS_OF_NUMBERS(layout) \
    MATVEC(layout, dot_numbers) MATVECS(layout, dot_numbers) MATMUL(layout, dot_numbers) EMBED_NUMBERS(layout)
INGOT_BLOCK_LAYOUTS(KERNELS_OF_BLOCKS)
INGOT_PLAIN_LAYOUTS(KERNELS_OF_NUMBERS)
#undef KERNELS_OF_BLOCKS
#undef KERNELS_OF_NUMBERS

KERNEL(quantize, QuantizeArguments) {
    const int first = int(me.x * me.n_warps() + me.warp()) * 256;
    const int64_t row = int64_t(me.y) * a.n;
    quantize_part(me, a.to, take_eight(me, a.x + row, first, a.n), row, first, a.n);
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

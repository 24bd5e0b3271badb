#pragma once
// Products by weights for one token, and for a few. A warp computes two rows of weights at a time: they share
// the activations that it reads, and the weights of both, of several units, are under way before the first is
// needed. That many bytes under way is what memory gives its bandwidth for.
#include "arguments.h"
#include "layouts.h"
#include "quantize.h"
#include "rows.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// Rows of weights that a warp computes together, and their sums for each of several tokens.
struct RowPair {
    GLOBAL(const uint8_t) of[kRowsOfWarp];
};
template <int n_tokens>
struct Sums {
    float of[kRowsOfWarp][n_tokens];
};

/// A run of 16 weights by 16 activations in 8 bits, added to `dot`.
FUNCTION int dot_run(LOCAL(const Unit) unit, int r, uint4 x, int dot) {
    dot = dot4(unit.q[4 * r + 0], x.x, dot);
    dot = dot4(unit.q[4 * r + 1], x.y, dot);
    dot = dot4(unit.q[4 * r + 2], x.z, dot);
    return dot4(unit.q[4 * r + 3], x.w, dot);
}

/// One weight of a unit: element i of run r.
FUNCTION float weight_of(LOCAL(const Unit) unit, int r, int i) {
    return unit.scale[r] * float(int8_t(byte_of(unit.q[4 * r + i / 4], i % 4))) - unit.min[r];
}

/// The activations that a unit meets.
struct UnitInput {
    uint4 quants[2];  // of its runs
    float scale;
    float sums[2];
};
/// A product below 2^22 that began as the bits of 1.5 * 2^23: as a float, it is this and the product. An
/// offset is taken from the product, not from each weight.
enum : int { kLiftedZero = 0x4b400000 };
template <typename Layout>
FUNCTION float without_offset(int lifted_dot, float sum) {
    const float dot = float_of(uint32_t(lifted_dot)) - 12582912.0f;
    return Layout::kOffset == 0 ? dot : fma(-float(Layout::kOffset), sum, dot);
}
template <typename Layout>
FUNCTION float dot_unit(LOCAL(const Unit) unit, LOCAL(const UnitInput) x) {
    const int first = dot_run(unit, 0, x.quants[0], kLiftedZero);
    if (int(Layout::kShared) == int(kRunsOfUnit)) {
        const float sum = x.sums[0] + x.sums[1];
        const int both = dot_run(unit, 1, x.quants[1], first);
        const float part = unit.scale[0] * without_offset<Layout>(both, sum);
        return Layout::kHasMin ? fma(-unit.min[0], sum, part) : part;
    }
    float part = unit.scale[0] * without_offset<Layout>(first, x.sums[0]);
    const int second = dot_run(unit, 1, x.quants[1], kLiftedZero);
    part = fma(unit.scale[1], without_offset<Layout>(second, x.sums[1]), part);
    if (Layout::kHasMin) part = fma(-unit.min[1], x.sums[1], fma(-unit.min[0], x.sums[0], part));
    return part;
}

/// A lane has unit u of blocks that are kBlocks apart; the rows x[token …] from that unit on.
template <typename Layout>
struct UnitRows {
    enum : int { kBlocks = 32 / Layout::kUnits };
    int u;
    GLOBAL(const uint8_t) quants;
    GLOBAL(const float) sums;
    GLOBAL(const float) scales;
};
template <typename Layout, typename Arguments>
FUNCTION UnitRows<Layout> unit_rows(ARGUMENTS(Arguments) a, Thread me, int64_t token) {
    UnitRows<Layout> rows;
    rows.u = int(me.lane()) % Layout::kUnits;
    const int run = Layout::run(rows.u, 0);
    rows.quants = a.quants + (token * a.n + run);
    rows.sums = a.sums + (token * (a.n / 16) + run / 16);
    rows.scales = a.scales + (token * (a.n / 32) + rows.u);
    return rows;
}

/// The lane's unit of block b of two rows by those, as many as there are.
template <typename Layout, int n_tokens>
FUNCTION void add_units(LOCAL(const UnitRows<Layout>) x_rows, LOCAL(const Raw) first, LOCAL(const Raw) second,
                        int b, int n, int n_present, LOCAL(Sums<n_tokens>) sums) {
    const int u = x_rows.u, other = Layout::run(u, 1) - Layout::run(u, 0);
    const Unit one = Layout::decode(first, u), two = Layout::decode(second, u);
    for (int t = 0; t < n_tokens; ++t) {
        if (t >= n_present) break;
        const int at = t * n + b * Layout::kElements;
        const int at_sum = t * (n / 16) + b * (Layout::kElements / 16);
        const bool has_sums = Layout::kHasMin || Layout::kOffset != 0;
        UnitInput x;
        for (int r = 0; r < 2; ++r) {
            x.quants[r] = load<uint4>(x_rows.quants + (at + r * other));
            x.sums[r] = has_sums ? float(x_rows.sums[at_sum + r * other / 16]) : 0.0f;
        }
        x.scale = x_rows.scales[t * (n / 32) + b * Layout::kUnits];
        sums.of[0][t] = fma(x.scale, dot_unit<Layout>(one, x), sums.of[0][t]);
        sums.of[1][t] = fma(x.scale, dot_unit<Layout>(two, x), sums.of[1][t]);
    }
}

template <int n_tokens>
FUNCTION void clear(LOCAL(Sums<n_tokens>) sums) {
    for (int row = 0; row < kRowsOfWarp; ++row) {
        for (int t = 0; t < n_tokens; ++t) sums.of[row][t] = 0.0f;
    }
}

/// A lane's share of two rows (n) of blocks by the rows x[token …].
struct DotBlocks {
    template <typename Layout, int n_tokens, typename Arguments>
    FUNCTION static void of(ARGUMENTS(Arguments) a, Thread me, LOCAL(const RowPair) rows, int64_t token,
                            int n_present, LOCAL(Sums<n_tokens>) sums) {
        clear(sums);
        const UnitRows<Layout> x = unit_rows<Layout>(a, me, token);
        const int n_blocks = a.n / Layout::kElements, step = UnitRows<Layout>::kBlocks;
        const Row first = {rows.of[0], n_blocks}, second = {rows.of[1], n_blocks};
        int b = int(me.lane()) / Layout::kUnits;
        for (; n_tokens == 1 && b + step < n_blocks; b += 2 * step) {
            const Raw raw[4] = {Layout::fetch(first, b, x.u), Layout::fetch(second, b, x.u),
                                Layout::fetch(first, b + step, x.u), Layout::fetch(second, b + step, x.u)};
            under_way();
            add_units<Layout, n_tokens>(x, raw[0], raw[1], b, a.n, n_present, sums);
            add_units<Layout, n_tokens>(x, raw[2], raw[3], b + step, a.n, n_present, sums);
        }
        for (; b < n_blocks; b += step) {
            const Raw raw[2] = {Layout::fetch(first, b, x.u), Layout::fetch(second, b, x.u)};
            under_way();
            add_units<Layout, n_tokens>(x, raw[0], raw[1], b, a.n, n_present, sums);
        }
    }
};

/// All elements of a word, times 2^-14.
FUNCTION Eight floats_of(FloatWord floats) {
    const uint32_t word = floats.word;
    Eight eight;
    two_halves(word << 12, word << 9, eight.x[0], eight.x[2]);
    two_halves(word << 4, word << 1, eight.x[1], eight.x[3]);
    two_halves(word << 8, word << 5, eight.x[4], eight.x[6]);
    two_halves(word, word >> 3, eight.x[5], eight.x[7]);
    return eight;
}

/// The same as DotBlocks of 4-bit floats, which meet floats: four lanes have a block, a word of it each, so
/// that they read neighbouring elements of x.
struct DotWords {
    template <int n_tokens>
    FUNCTION static void add(GLOBAL(const float) x, FloatWord first, FloatWord second, int at, int n,
                             int n_present, LOCAL(Sums<n_tokens>) sums) {
        const Eight one = floats_of(first), two = floats_of(second);
        for (int t = 0; t < n_tokens; ++t) {
            if (t >= n_present) break;
            float part_one = 0.0f, part_two = 0.0f;
            UNROLLED for (int half = 0; half < 2; ++half) {
                const uint4 words = load<uint4>(x + (t * n + at + 16 * half));
                UNROLLED for (int k = 0; k < 4; ++k) {
                    const float element = float_of(word_of(words, k));
                    part_one = fma(one.x[4 * half + k], element, part_one);
                    part_two = fma(two.x[4 * half + k], element, part_two);
                }
            }
            sums.of[0][t] = fma(power_of(first.exponent), 16384.0f * part_one, sums.of[0][t]);
            sums.of[1][t] = fma(power_of(second.exponent), 16384.0f * part_two, sums.of[1][t]);
        }
    }
    template <typename Layout, int n_tokens, typename Arguments>
    FUNCTION static void of(ARGUMENTS(Arguments) a, Thread me, LOCAL(const RowPair) rows, int64_t token,
                            int n_present, LOCAL(Sums<n_tokens>) sums) {
        clear(sums);
        constexpr int kStep = 8, kAtOnce = 4;  // blocks of a warp; steps
        const int n_blocks = a.n / Layout::kElements, part = int(me.lane()) % 4;
        const Row first = {rows.of[0], n_blocks}, second = {rows.of[1], n_blocks};
        GLOBAL(const float) x = a.x + (token * a.n + 4 * part);
        int b = int(me.lane()) / 4;
        for (; n_tokens == 1 && b + (kAtOnce - 1) * kStep < n_blocks; b += kAtOnce * kStep) {
            FloatWord one[kAtOnce], two[kAtOnce];
            UNROLLED for (int i = 0; i < kAtOnce; ++i) {
                one[i] = Layout::fetch_word(first, b + kStep * i, part);
                two[i] = Layout::fetch_word(second, b + kStep * i, part);
            }
            under_way();
            UNROLLED for (int i = 0; i < kAtOnce; ++i)
                add<n_tokens>(x, one[i], two[i], 32 * (b + kStep * i), a.n, n_present, sums);
        }
        for (; b < n_blocks; b += kStep) {
            add<n_tokens>(x, Layout::fetch_word(first, b, part), Layout::fetch_word(second, b, part), 32 * b,
                          a.n, n_present, sums);
        }
    }
};

/// Sixteen bytes of two rows of numbers, from element i on, by the rows x[token …]; all of them are in the
/// rows.
template <typename Layout, int n_tokens, typename Arguments>
FUNCTION void add_numbers(ARGUMENTS(Arguments) a, uint4 first, uint4 second, int i, int64_t token,
                          int n_present, LOCAL(Sums<n_tokens>) sums) {
    for (int t = 0; t < n_tokens; ++t) {
        if (t >= n_present) break;
        for (int j = 0; j < Layout::kAtOnce; j += 4) {
            const uint4 words = load<uint4>(a.x + ((token + t) * a.n + i + j));
            for (int k = 0; k < 4; ++k) {
                const float x = float_of(word_of(words, k));
                sums.of[0][t] = fma(Layout::at(first, j + k), x, sums.of[0][t]);
                sums.of[1][t] = fma(Layout::at(second, j + k), x, sums.of[1][t]);
            }
        }
    }
}

/// The same as DotBlocks of rows of numbers. Rows of weights are padded to 16 bytes, rows of x are not.
struct DotNumbers {
    template <typename Layout>
    FUNCTION static uint4 take(GLOBAL(const uint8_t) row, int i) {
        return load_once<uint4>(row + int64_t(i) * Layout::kBytes);
    }
    template <typename Layout, int n_tokens, typename Arguments>
    FUNCTION static void of(ARGUMENTS(Arguments) a, Thread me, LOCAL(const RowPair) rows, int64_t token,
                            int n_present, LOCAL(Sums<n_tokens>) sums) {
        clear(sums);
        constexpr int kStep = 32 * Layout::kAtOnce;
        int i = int(me.lane()) * Layout::kAtOnce;
        if (a.n % Layout::kAtOnce == 0) {
            for (; n_tokens == 1 && i + kStep < a.n; i += 2 * kStep) {
                const uint4 raw[4] = {take<Layout>(rows.of[0], i), take<Layout>(rows.of[1], i),
                                      take<Layout>(rows.of[0], i + kStep),
                                      take<Layout>(rows.of[1], i + kStep)};
                under_way();
                add_numbers<Layout, n_tokens>(a, raw[0], raw[1], i, token, n_present, sums);
                add_numbers<Layout, n_tokens>(a, raw[2], raw[3], i + kStep, token, n_present, sums);
            }
            for (; i < a.n; i += kStep)
                add_numbers<Layout, n_tokens>(a, take<Layout>(rows.of[0], i), take<Layout>(rows.of[1], i), i,
                                              token, n_present, sums);
            return;
        }
        for (; i < a.n; i += kStep) {
            const uint4 raw[kRowsOfWarp] = {take<Layout>(rows.of[0], i), take<Layout>(rows.of[1], i)};
            for (int t = 0; t < n_tokens; ++t) {
                for (int j = 0; t < n_present && j < Layout::kAtOnce && i + j < a.n; ++j) {
                    const float x = a.x[(token + t) * a.n + i + j];
                    for (int row = 0; row < kRowsOfWarp; ++row)
                        sums.of[row][t] = fma(Layout::at(raw[row], j), x, sums.of[row][t]);
                }
            }
        }
    }
};

/// A row that a warp computes, in one of the matrices of a launch.
struct MatvecRow {
    int part;
    int64_t matrix_row;  // of the weights and the bias
    int64_t at;          // of y
};
FUNCTION MatvecRow matvec_row(ARGUMENTS(MatvecArguments) a, Thread me, int part, int row) {
    const int64_t n_out = a.parts[part].n_out;
    return {part, (a.experts ? a.experts[me.y] * n_out : 0) + row, me.y * n_out + row};
}
FUNCTION float biased(ARGUMENTS(MatvecArguments) a, LOCAL(const MatvecRow) row, float sum) {
    return a.parts[row.part].bias ? sum + a.parts[row.part].bias[row.matrix_row] : sum;
}

/// Asks for the beginning of a row, which is all of it in most models.
FUNCTION void prefetch_row(Thread me, GLOBAL(const uint8_t) row, int64_t row_bytes) {
    const int at = 128 * int(me.lane());
    if (at < row_bytes) prefetch_line(row + at);
}

/// Rows two by two, counted through the matrices; the last of a matrix may be alone, and is then computed
/// twice. With an activation, a row of the first matrix and the same of the second.
template <typename Layout, typename Dot>
FUNCTION void matvec(ARGUMENTS(MatvecArguments) a, Thread me) {
    int pair = int(me.x * me.n_warps() + me.warp());
    int part = 0;
    const bool is_gated = a.activation >= 0;
    while (!is_gated && part < 2 && pair >= (a.parts[part].n_out + 1) / 2)
        pair -= (a.parts[part++].n_out + 1) / 2;
    const int n_out = a.parts[part].n_out;
    const bool is_there = pair < (is_gated ? n_out : (n_out + 1) / 2);
    if (a.experts || !is_there) me.wait_for_last_launch();  // which says which experts
    if (!is_there) return;
    const int row = is_gated ? pair : 2 * pair;
    const MatvecRow first = matvec_row(a, me, part, row);
    const MatvecRow second = matvec_row(a, me, is_gated ? 1 : part, is_gated ? row : min(row + 1, n_out - 1));
    const RowPair rows = {
        {a.parts[first.part].weights + first.matrix_row * a.parts[first.part].row_bytes,
         a.parts[second.part].weights + second.matrix_row * a.parts[second.part].row_bytes}};
    if (!a.experts) {
        prefetch_row(me, rows.of[0], a.parts[first.part].row_bytes);
        prefetch_row(me, rows.of[1], a.parts[second.part].row_bytes);
        me.wait_for_last_launch();
    }
    Sums<1> sums;
    Dot::template of<Layout, 1>(a, me, rows, me.y / a.n_slots, 1, sums);
    const float one = me.lane_sum(sums.of[0][0]), two = me.lane_sum(sums.of[1][0]);
    if (me.lane() != 0) return;
    const float gate = biased(a, first, one), up = biased(a, second, two);
    a.parts[first.part].y[first.at] = gate;
    if (second.at != first.at || is_gated) a.parts[second.part].y[second.at] = up;
    if (is_gated) a.activated[first.at] = gated(a.activation, gate, up);
}

/// kTokensAtOnce tokens.
template <typename Layout, typename Dot>
FUNCTION void matmul(ARGUMENTS(MatmulArguments) a, Thread me) {
    const int row = kRowsOfWarp * int(me.x * me.n_warps() + me.warp());
    if (row >= a.n_out) return;
    const int n_rows = min(int(kRowsOfWarp), a.n_out - row);
    const int64_t token = int64_t(me.y) * kTokensAtOnce;
    const int n_present = int(min(int64_t(kTokensAtOnce), a.n_tokens - token));
    const RowPair rows = {
        {a.weights + row * a.row_bytes, a.weights + int64_t(row + n_rows - 1) * a.row_bytes}};
    Sums<kTokensAtOnce> sums;
    Dot::template of<Layout, kTokensAtOnce>(a, me, rows, token, n_present, sums);
    for (int t = 0; t < kTokensAtOnce; ++t) {
        for (int i = 0; i < kRowsOfWarp; ++i) {
            const float sum = me.lane_sum(sums.of[i][t]);
            if (t < n_present && i < n_rows && me.lane() == 0)
                a.y[(token + t) * a.n_out + row + i] = a.bias ? sum + a.bias[row + i] : sum;
        }
    }
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
            const Unit unit = decode_all<layout>(layout::fetch(row, block, u), u);                      \
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

#define PRODUCTS(layout, Dot)                                             \
    EARLY_KERNEL(matvec_##layout, MatvecArguments, kMatmulThreads, 4) {   \
        matvec<layout, Dot>(a, me);                                       \
    }                                                                     \
    BOUNDED_KERNEL(matmul_##layout, MatmulArguments, kMatmulThreads, 4) { \
        matmul<layout, Dot>(a, me);                                       \
    }
#define KERNELS_OF_BLOCKS(layout) PRODUCTS(layout, DotBlocks) EMBED_BLOCKS(layout)
#define KERNELS_OF_NUMBERS(layout) PRODUCTS(layout, DotNumbers) EMBED_NUMBERS(layout)
INGOT_INTEGER_LAYOUTS(KERNELS_OF_BLOCKS)
PRODUCTS(MXFP4, DotWords)
EMBED_BLOCKS(MXFP4)
INGOT_PLAIN_LAYOUTS(KERNELS_OF_NUMBERS)
#undef PRODUCTS
#undef KERNELS_OF_BLOCKS
#undef KERNELS_OF_NUMBERS

    KERNEL(quantize, QuantizeArguments) {
    const int first = int(me.x * me.n_warps() + me.warp()) * 256;
    const int64_t row = int64_t(me.y) * a.n;
    quantize_part(me, a.to, take_eight(me, a.x + row, first, a.n, a.is_wide), row, first, a.n);
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

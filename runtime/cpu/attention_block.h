#pragma once
// Attention of a block of tokens: softmax(scale * queries · keys) · values as two matrix products, 64
// positions at a time, with the running largest score and sum of each row (Milakov and Gimelshein 2018,
// arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135): memory does not grow with the positions.
//
// A row is a token's query of one head. 64 positions of keys are unpacked once, transposed, for all rows: a
// lane is a position in the first product, a value's dimension in the second, and nothing is added up across
// lanes but the softmax's sums. Positions go in blocks that begin at multiples of 64, whatever the tokens: a
// row's result does not depend on the others.
//
// Everything here is static: see tiles.h. An instruction set describes its vectors of floats by `V`:
//     Floats, kLanes                       the vector
//     kRows, kVectors                      of a tile of sums: with kVectors of keys and a query it fits into
//                                          the registers
//     all(x), load(from), store(to, v)
//     add, subtract, multiply, larger      (a, b)
//     multiply_add(a, b, c)                a * b + c, rounded once
//     divide(a, b)
//     largest(v), sum(v)                   of the lanes
//     within(v, begin, end, otherwise)     lanes begin … end-1 of v, the others `otherwise`
//     steps()                              0, 1, 2 …
//     exp2(v)                              of v ≤ 0, relative error below 2^-22; 0 below kLeastExponent
//     capped(v, cap)                       cap * tanh(v / cap)
//     transpose(rows)                      of a square of kLanes vectors
//     store_some(to, v, n)                 the first n ≥ 1 lanes, or all of them
//     F16, F32, BF16, Q8_0                 each with load(from, i, n): elements i … of a cache, n of them or
//                                          all that a vector holds, then zeros
#include "runtime/cpu/tiles.h"

namespace ingot::runtime::cpu {
namespace {

constexpr int64_t kBlockPositions = 64;

// A weight of 2^-90 cannot change a float sum in which another is 1. As zero it keeps the products out of the
// denormal numbers, with which processors take many times as long.
constexpr float kLeastExponent = -90;
constexpr float kLog2E = 1.44269504f;
// Below every score; unlike -infinity it can be subtracted from itself.
constexpr float kLowestScore = -1e38f;

template <typename V>
struct BlockAttention {
    using Floats = typename V::Floats;
    static constexpr int64_t kLanes = V::kLanes;
    static constexpr int kRows = V::kRows, kVectors = V::kVectors;
    static constexpr int kScoreVectors = kBlockPositions / kLanes;  // of a row
    static_assert(kScoreVectors % kVectors == 0);

    struct Scratch {
        float* keys;     // (key_dim, kBlockPositions)
        float* values;   // (kBlockPositions, value_width)
        float* scores;   // (rows, kBlockPositions)
        float* outputs;  // (rows, value_width), to be divided by the sums
        float* largest;  // (rows)
        float* sums;     // (rows, kLanes): a row's sum is that of its lanes
        float* factors;  // (rows): of what a row had before this block
    };

    static constexpr int64_t value_width(int64_t value_dim) {  // whole vectors
        return (value_dim + kLanes - 1) / kLanes * kLanes;
    }

    // Keys of n ≤ 64 positions from `first` on -> (key_dim, kBlockPositions), zeros beyond n.
    template <typename Element>
    static void unpack_keys(const AttentionBlockArguments& a, int64_t first, int64_t n, float* to) {
        for (int64_t p = 0; p < kBlockPositions; p += kLanes) {
            for (int64_t d = 0; d < a.key_dim; d += kLanes) {
                Floats rows[kLanes];
                for (int64_t i = 0; i < kLanes; ++i) {
                    rows[i] = V::all(0);
                    if (p + i >= n) continue;
                    rows[i] = Element::load(a.keys, (first + p + i) * a.key_stride + d, a.key_dim - d);
                }
                V::transpose(rows);
                for (int64_t i = 0; i < kLanes && d + i < a.key_dim; ++i)
                    V::store(to + (d + i) * kBlockPositions + p, rows[i]);
            }
        }
    }

    // Values likewise -> (kBlockPositions, value_width)
    template <typename Element>
    static void unpack_values(const AttentionBlockArguments& a, int64_t first, int64_t n, float* to) {
        const int64_t width = value_width(a.value_dim);
        for (int64_t p = 0; p < n; ++p) {
            for (int64_t d = 0; d < a.value_dim; d += kLanes) {
                const int64_t element = (first + p) * a.value_stride + d;
                V::store(to + p * width + d, Element::load(a.values, element, a.value_dim - d));
            }
        }
    }

    /// What a row sees of a block: positions begin … end-1 of it, or none.
    struct Seen {
        int64_t begin, end;
    };
    INGOT_INLINE Seen seen_of(const AttentionBlockArguments& a, int64_t row, int64_t first) {
        const int64_t token = row / a.n_heads;
        const int64_t begin = a.begins[token] - first, end = a.ends[token] - first;
        return {begin > 0 ? begin : 0, end < kBlockPositions ? end : kBlockPositions};
    }

    // The soft cap and the distance's penalty, for the models that have them.
    static void adjust(const AttentionBlockArguments& a, int64_t row, int64_t first,
                       const Floats (&products)[kScoreVectors], Floats (&scores)[kScoreVectors]) {
        const Floats slope = V::all(a.slopes ? -a.slopes[row % a.n_heads] : 0.0f);
        for (int v = 0; v < kScoreVectors; ++v) {
            Floats score = V::multiply(products[v], V::all(a.scale));
            if (a.soft_cap > 0) score = V::capped(score, a.soft_cap);
            const int64_t last = a.ends[row / a.n_heads] - 1 - first - kLanes * v;
            const Floats distance = V::subtract(V::all(float(last)), V::steps());
            scores[v] = V::multiply(V::multiply_add(slope, distance, score), V::all(kLog2E));
        }
    }

    // (kRows) queries · keys -> products
    // Not inline: it needs every register.
    [[gnu::noinline]] static void multiply_keys(const float* const (&queries)[kRows], const float* keys,
                                                int64_t key_dim, Floats (&products)[kRows][kScoreVectors]) {
        for (int first = 0; first < kScoreVectors; first += kVectors) {
            Floats sums[kRows][kVectors];
            for (int r = 0; r < kRows; ++r) {
                for (int v = 0; v < kVectors; ++v) sums[r][v] = V::all(0);
            }
            for (int64_t d = 0; d < key_dim; ++d) {
                Floats key[kVectors];
                for (int v = 0; v < kVectors; ++v)
                    key[v] = V::load(keys + d * kBlockPositions + kLanes * (first + v));
                for (int r = 0; r < kRows; ++r) {
                    const Floats query = V::all(queries[r][d]);
                    for (int v = 0; v < kVectors; ++v)
                        sums[r][v] = V::multiply_add(query, key[v], sums[r][v]);
                }
            }
            for (int r = 0; r < kRows; ++r) {
                for (int v = 0; v < kVectors; ++v) products[r][first + v] = sums[r][v];
            }
        }
    }

    // The products of one row and the positions from `first` on become weights 2^(score - the largest so
    // far), scores being those of the formula times log2 e.
    INGOT_INLINE void weigh(const AttentionBlockArguments& a, int64_t row, int64_t first, const Seen& seen,
                            const Floats (&products)[kScoreVectors], const Scratch& scratch) {
        float* const weights = scratch.scores + row * kBlockPositions;
        scratch.factors[row] = 1;
        if (seen.begin >= seen.end) {
            for (int v = 0; v < kScoreVectors; ++v) V::store(weights + kLanes * v, V::all(0));
            return;
        }
        Floats scores[kScoreVectors];
        if (a.soft_cap > 0 || a.slopes) {
            adjust(a, row, first, products, scores);
        } else {
            for (int v = 0; v < kScoreVectors; ++v)
                scores[v] = V::multiply(products[v], V::all(a.scale * kLog2E));
        }
        if (seen.begin > 0 || seen.end < kBlockPositions) {
            for (int v = 0; v < kScoreVectors; ++v)
                scores[v] =
                    V::within(scores[v], seen.begin - kLanes * v, seen.end - kLanes * v, kLowestScore);
        }
        Floats most = scores[0];
        for (int v = 1; v < kScoreVectors; ++v) most = V::larger(most, scores[v]);
        float largest = scratch.largest[row];
        Floats sum = V::load(scratch.sums + kLanes * row);
        if (const float now = V::largest(most); now > largest) {
            const Floats factor = V::exp2(V::all(largest - now));
            sum = V::multiply(sum, factor);
            float factors[kLanes];
            V::store(factors, factor);
            scratch.factors[row] = factors[0];
            scratch.largest[row] = largest = now;
        }
        for (int v = 0; v < kScoreVectors; ++v) {
            const Floats weight = V::exp2(V::subtract(scores[v], V::all(largest)));
            sum = V::add(sum, weight);
            V::store(weights + kLanes * v, weight);
        }
        V::store(scratch.sums + kLanes * row, sum);
    }

    // outputs (kRows, n_vectors of value_width) = factor * outputs + weights · values, of positions begin …
    // end-1
    // Not inline: it needs every register.
    template <int n_vectors>
    [[gnu::noinline]] static void add_values(const Scratch& scratch, int64_t row, int64_t begin, int64_t end,
                                             int64_t width, int64_t d) {
        Floats sums[kRows][n_vectors];
        for (int r = 0; r < kRows; ++r) {
            const Floats factor = V::all(scratch.factors[row + r]);
            for (int v = 0; v < n_vectors; ++v) {
                sums[r][v] =
                    V::multiply(factor, V::load(scratch.outputs + (row + r) * width + d + kLanes * v));
            }
        }
        const float* weights = scratch.scores + row * kBlockPositions;
        for (int64_t p = begin; p < end; ++p) {
            Floats value[n_vectors];
            for (int v = 0; v < n_vectors; ++v)
                value[v] = V::load(scratch.values + p * width + d + kLanes * v);
            for (int r = 0; r < kRows; ++r) {
                const Floats weight = V::all(weights[r * kBlockPositions + p]);
                for (int v = 0; v < n_vectors; ++v)
                    sums[r][v] = V::multiply_add(weight, value[v], sums[r][v]);
            }
        }
        for (int r = 0; r < kRows; ++r) {
            for (int v = 0; v < n_vectors; ++v)
                V::store(scratch.outputs + (row + r) * width + d + kLanes * v, sums[r][v]);
        }
    }

    // A tile of kRows rows meets the 64 positions from `first` on. Rows beyond the last repeat it.
    static void attend_tile(const AttentionBlockArguments& a, int64_t row, int64_t first,
                            const Scratch& scratch) {
        const int64_t n_rows = a.n_tokens * a.n_heads;
        const float* queries[kRows];
        Seen seen[kRows];
        int64_t begin = kBlockPositions, end = 0;  // what any of them sees
        for (int r = 0; r < kRows; ++r) {
            const int64_t source = row + r < n_rows ? row + r : n_rows - 1;
            queries[r] = a.queries + source / a.n_heads * a.query_stride + source % a.n_heads * a.key_dim;
            seen[r] = seen_of(a, source, first);
            if (seen[r].begin < begin) begin = seen[r].begin;
            if (seen[r].end > end) end = seen[r].end;
        }
        if (begin >= end) return;
        Floats products[kRows][kScoreVectors];
        multiply_keys(queries, scratch.keys, a.key_dim, products);
        for (int r = 0; r < kRows && row + r < n_rows; ++r)
            weigh(a, row + r, first, seen[r], products[r], scratch);
        const int64_t width = value_width(a.value_dim);
        int64_t d = 0;
        for (; d + kVectors * kLanes <= width; d += kVectors * kLanes)
            add_values<kVectors>(scratch, row, begin, end, width, d);
        for (; d < width; d += kLanes) add_values<1>(scratch, row, begin, end, width, d);
    }

    static constexpr int64_t padded_rows(int64_t n) { return (n + kRows - 1) / kRows * kRows; }

    static Scratch divide(float* memory, int64_t n_rows, int64_t key_dim, int64_t value_dim) {
        const int64_t width = value_width(value_dim);
        Scratch scratch;
        scratch.keys = memory;
        scratch.values = scratch.keys + key_dim * kBlockPositions;
        scratch.scores = scratch.values + kBlockPositions * width;
        scratch.outputs = scratch.scores + n_rows * kBlockPositions;
        scratch.sums = scratch.outputs + n_rows * width;
        scratch.largest = scratch.sums + kLanes * n_rows;
        scratch.factors = scratch.largest + n_rows;
        return scratch;
    }

    /// Floats of scratch that a block of so many rows takes.
    static size_t scratch_floats(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
        const int64_t n_padded = padded_rows(n_rows);
        return size_t(kBlockPositions * (key_dim + value_width(value_dim)) +
                      n_padded * (kBlockPositions + value_width(value_dim) + kLanes + 2));
    }

    template <typename Element>
    static void attend_in(const AttentionBlockArguments& a) {
        const int64_t n_rows = a.n_tokens * a.n_heads, n_padded = padded_rows(n_rows);
        const int64_t width = value_width(a.value_dim);
        const Scratch scratch = divide(a.scratch, n_padded, a.key_dim, a.value_dim);
        for (int64_t row = 0; row < n_padded; ++row) {
            const bool has_sink = a.sinks && row < n_rows;
            scratch.largest[row] = has_sink ? a.sinks[row % a.n_heads] * kLog2E : kLowestScore;
            scratch.factors[row] = 0;
            V::store(scratch.sums + kLanes * row, V::within(V::all(has_sink), 0, 1, 0));
            for (int64_t d = 0; d < width; d += kLanes)
                V::store(scratch.outputs + row * width + d, V::all(0));
            for (int64_t p = 0; p < kBlockPositions; p += kLanes)
                V::store(scratch.scores + row * kBlockPositions + p, V::all(0));
        }
        int64_t begin = a.begins[0], end = a.ends[0];
        for (int64_t token = 1; token < a.n_tokens; ++token) {
            if (a.begins[token] < begin) begin = a.begins[token];
            if (a.ends[token] > end) end = a.ends[token];
        }
        for (int64_t first = begin / kBlockPositions * kBlockPositions; first < end;
             first += kBlockPositions) {
            const int64_t n = end - first < kBlockPositions ? end - first : kBlockPositions;
            unpack_keys<Element>(a, first, n, scratch.keys);
            unpack_values<Element>(a, first, n, scratch.values);
            for (int64_t row = 0; row < n_rows; row += kRows) attend_tile(a, row, first, scratch);
        }
        for (int64_t row = 0; row < n_rows; ++row) {
            const Floats sum = V::all(V::sum(V::load(scratch.sums + kLanes * row)));
            float* const to = a.output + row / a.n_heads * a.output_stride + row % a.n_heads * a.value_dim;
            for (int64_t d = 0; d < a.value_dim; d += kLanes) {
                const Floats output = V::load(scratch.outputs + row * width + d);
                V::store_some(to + d, V::divide(output, sum), a.value_dim - d);
            }
        }
    }

    static void attend(const AttentionBlockArguments& a) {
        switch (a.cache) {
            case CacheType::F16:
                return attend_in<typename V::F16>(a);
            case CacheType::F32:
                return attend_in<typename V::F32>(a);
            case CacheType::BF16:
                return attend_in<typename V::BF16>(a);
            case CacheType::Q8_0:
                return attend_in<typename V::Q8_0>(a);
        }
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu

// Attention of a block of tokens: softmax(scale * queries · keys) · values as two matrix products, 64
// positions at a time, with the running largest score and sum of each row (Milakov and Gimelshein 2018,
// arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135): memory does not grow with the positions.
//
// A row is a token's query of one head. 64 positions of keys are unpacked once, transposed, for all rows: a
// lane is a position in the first product, a value's dimension in the second, and nothing is added up across
// lanes but the softmax's sums. Positions go in blocks that begin at multiples of 64, whatever the tokens: a
// row's result does not depend on the others.
#include "format/blocks/q8_0.h"
#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/avx512/exp.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kPositions = 64;  // of a block
constexpr int kVectors = kPositions / 16;
constexpr int kRows = 6;  // of a tile: 6 × 4 sums, 4 vectors of keys and a query are 29 registers

// A weight of 2^-90 cannot change a float sum in which another is 1. As zero it keeps the products out of the
// denormal numbers, with which processors take many times as long.
constexpr float kLeastExponent = -90;
constexpr float kLog2E = 1.44269504f;
// Below every score; unlike -infinity it can be subtracted from itself.
constexpr float kLowest = -1e38f;

struct Scratch {
    float* keys;     // (key_dim, kPositions)
    float* values;   // (kPositions, value_width)
    float* scores;   // (rows, kPositions)
    float* outputs;  // (rows, value_width), to be divided by the sums
    float* largest;  // (rows)
    float* sums;     // (rows, 16): a row's sum is that of its lanes
    float* factors;  // (rows): of what a row had before this block
};

constexpr int64_t value_width(int64_t value_dim) {  // whole vectors
    return (value_dim + 15) / 16 * 16;
}

// Each loads 16 elements from element i on, or those that the mask names and zeros.
struct F16 {
    INGOT_INLINE __m512 load(__mmask16 mask, const void* from, int64_t i) {
        return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(from) + i));
    }
};
struct F32 {
    INGOT_INLINE __m512 load(__mmask16 mask, const void* from, int64_t i) {
        return _mm512_maskz_loadu_ps(mask, static_cast<const float*>(from) + i);
    }
};
struct BF16 {
    INGOT_INLINE __m512 load(__mmask16 mask, const void* from, int64_t i) {
        const __m256i halves = _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(from) + i);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    }
};
struct Q8_0 {  // heads are whole blocks: the mask is full
    INGOT_INLINE __m512 load(__mmask16, const void* from, int64_t i) {
        const BlockQ8_0& block = static_cast<const BlockQ8_0*>(from)[i / 32];
        const auto* quants = reinterpret_cast<const __m128i*>(block.quants + i % 32);
        return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(quants))),
                             _mm512_set1_ps(_cvtsh_ss(block.d)));
    }
};

// Keys of n ≤ 64 positions from `first` on -> (key_dim, kPositions), zeros beyond n.
template <typename Element>
static void unpack_keys(const AttentionBlockArguments& a, int64_t first, int64_t n, float* to) {
    for (int64_t p = 0; p < kPositions; p += 16) {
        for (int64_t d = 0; d < a.key_dim; d += 16) {
            __m512 rows[16];
            for (int64_t i = 0; i < 16; ++i) {
                rows[i] = _mm512_setzero_ps();
                if (p + i >= n) continue;
                rows[i] = Element::load(lanes(a.key_dim - d), a.keys, (first + p + i) * a.key_stride + d);
            }
            transpose(rows);
            for (int64_t i = 0; i < 16 && d + i < a.key_dim; ++i) {
                _mm512_storeu_ps(to + (d + i) * kPositions + p, rows[i]);
            }
        }
    }
}

// Values likewise -> (kPositions, value_width)
template <typename Element>
static void unpack_values(const AttentionBlockArguments& a, int64_t first, int64_t n, float* to) {
    const int64_t width = value_width(a.value_dim);
    for (int64_t p = 0; p < n; ++p) {
        for (int64_t d = 0; d < a.value_dim; d += 16) {
            const int64_t element = (first + p) * a.value_stride + d;
            _mm512_storeu_ps(to + p * width + d, Element::load(lanes(a.value_dim - d), a.values, element));
        }
    }
}

/// What a row sees of a block: positions begin … end-1 of it.
struct Seen {
    int64_t begin, end;
};
INGOT_INLINE Seen seen_of(const AttentionBlockArguments& a, int64_t row, int64_t first) {
    const int64_t token = row / a.n_heads;
    const int64_t begin = a.begins[token] - first, end = a.ends[token] - first;
    return {begin > 0 ? begin : 0, end < kPositions ? end : kPositions};
}

// The soft cap and the distance's penalty, for the models that have them.
static void adjust(const AttentionBlockArguments& a, int64_t row, int64_t first,
                   const __m512 (&products)[kVectors], __m512 (&scores)[kVectors]) {
    const __m512 slope = _mm512_set1_ps(a.slopes ? a.slopes[row % a.n_heads] : 0.0f);
    const __m512 steps = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int v = 0; v < kVectors; ++v) {
        __m512 score = _mm512_mul_ps(products[v], _mm512_set1_ps(a.scale));
        if (a.soft_cap > 0) score = capped(score, a.soft_cap);
        const int64_t last = a.ends[row / a.n_heads] - 1 - first - 16 * v;
        const __m512 distance = _mm512_sub_ps(_mm512_set1_ps(float(last)), steps);
        scores[v] = _mm512_mul_ps(_mm512_fnmadd_ps(slope, distance, score), _mm512_set1_ps(kLog2E));
    }
}

// (kRows) queries · keys -> products (kRows, kVectors)
// Not inline: it needs every register.
[[gnu::noinline]] static void multiply_keys(const float* const (&queries)[kRows], const float* keys,
                                            int64_t key_dim, __m512 (&products)[kRows][kVectors]) {
    __m512 sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_setzero_ps();
    }
    for (int64_t d = 0; d < key_dim; ++d) {
        __m512 key[kVectors];
        for (int v = 0; v < kVectors; ++v) key[v] = _mm512_loadu_ps(keys + d * kPositions + 16 * v);
        for (int r = 0; r < kRows; ++r) {
            const __m512 query = _mm512_set1_ps(queries[r][d]);
            for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_fmadd_ps(query, key[v], sums[r][v]);
        }
    }
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) products[r][v] = sums[r][v];
    }
}

// The products of one row and the positions from `first` on become weights 2^(score - the largest so far),
// scores being those of the formula times log2 e.
INGOT_INLINE void weigh(const AttentionBlockArguments& a, int64_t row, int64_t first, const Seen& seen,
                        const __m512 (&products)[kVectors], const Scratch& scratch) {
    const uint64_t below_end = seen.end <= 0 ? 0 : ~uint64_t(0) >> (kPositions - seen.end);
    const uint64_t all = seen.begin >= kPositions ? 0 : below_end & ~uint64_t(0) << seen.begin;
    __m512 scores[kVectors];
    if (a.soft_cap > 0 || a.slopes) {
        adjust(a, row, first, products, scores);
    } else {
        for (int v = 0; v < kVectors; ++v) {
            scores[v] = _mm512_mul_ps(products[v], _mm512_set1_ps(a.scale * kLog2E));
        }
    }
    float largest = scratch.largest[row];
    __m512 most = _mm512_set1_ps(largest);
    for (int v = 0; v < kVectors; ++v) {
        most = _mm512_mask_max_ps(most, __mmask16(all >> (16 * v)), most, scores[v]);
    }
    __m512 sum = _mm512_loadu_ps(scratch.sums + 16 * row);
    scratch.factors[row] = 1;
    if (const float now = _mm512_reduce_max_ps(most); now > largest) {
        const __m512 factor = exp2(0xffff, _mm512_set1_ps(largest - now));
        sum = _mm512_mul_ps(sum, factor);
        scratch.factors[row] = _mm512_cvtss_f32(factor);
        scratch.largest[row] = largest = now;
    }
    for (int v = 0; v < kVectors; ++v) {
        const __m512 x = _mm512_sub_ps(scores[v], _mm512_set1_ps(largest));
        const __mmask16 counts = _mm512_mask_cmp_ps_mask(__mmask16(all >> (16 * v)), x,
                                                         _mm512_set1_ps(kLeastExponent), _CMP_NLT_UQ);
        const __m512 weight = exp2(counts, x);
        sum = _mm512_add_ps(sum, weight);
        _mm512_storeu_ps(scratch.scores + row * kPositions + 16 * v, weight);
    }
    _mm512_storeu_ps(scratch.sums + 16 * row, sum);
}

// outputs (kRows, n_vectors of value_width) = factor * outputs + weights · values, of positions begin … end-1
// Not inline: it needs every register.
template <int n_vectors>
[[gnu::noinline]] static void add_values(const Scratch& scratch, int64_t row, int64_t begin, int64_t end,
                                         int64_t width, int64_t d) {
    __m512 sums[kRows][n_vectors];
    for (int r = 0; r < kRows; ++r) {
        const __m512 factor = _mm512_set1_ps(scratch.factors[row + r]);
        for (int v = 0; v < n_vectors; ++v) {
            sums[r][v] =
                _mm512_mul_ps(factor, _mm512_loadu_ps(scratch.outputs + (row + r) * width + d + 16 * v));
        }
    }
    const float* weights = scratch.scores + row * kPositions;
    for (int64_t p = begin; p < end; ++p) {
        __m512 value[n_vectors];
        for (int v = 0; v < n_vectors; ++v) {
            value[v] = _mm512_loadu_ps(scratch.values + p * width + d + 16 * v);
        }
        for (int r = 0; r < kRows; ++r) {
            const __m512 weight = _mm512_set1_ps(weights[r * kPositions + p]);
            for (int v = 0; v < n_vectors; ++v) sums[r][v] = _mm512_fmadd_ps(weight, value[v], sums[r][v]);
        }
    }
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < n_vectors; ++v) {
            _mm512_storeu_ps(scratch.outputs + (row + r) * width + d + 16 * v, sums[r][v]);
        }
    }
}

// A tile of kRows rows meets the 64 positions from `first` on. Rows beyond the last repeat it.
static void attend_tile(const AttentionBlockArguments& a, int64_t row, int64_t first,
                        const Scratch& scratch) {
    const int64_t n_rows = a.n_tokens * a.n_heads;
    const float* queries[kRows];
    Seen seen[kRows];
    int64_t begin = kPositions, end = 0;  // what any of them sees
    for (int r = 0; r < kRows; ++r) {
        const int64_t source = row + r < n_rows ? row + r : n_rows - 1;
        queries[r] = a.queries + source / a.n_heads * a.query_stride + source % a.n_heads * a.key_dim;
        seen[r] = seen_of(a, source, first);
        if (seen[r].begin < begin) begin = seen[r].begin;
        if (seen[r].end > end) end = seen[r].end;
    }
    if (begin >= end) return;
    __m512 products[kRows][kVectors];
    multiply_keys(queries, scratch.keys, a.key_dim, products);
    for (int r = 0; r < kRows && row + r < n_rows; ++r) {
        weigh(a, row + r, first, seen[r], products[r], scratch);
    }
    const int64_t width = value_width(a.value_dim);
    int64_t d = 0;
    for (; d + 64 <= width; d += 64) add_values<4>(scratch, row, begin, end, width, d);
    for (; d + 32 <= width; d += 32) add_values<2>(scratch, row, begin, end, width, d);
    for (; d < width; d += 16) add_values<1>(scratch, row, begin, end, width, d);
}

constexpr int64_t padded_rows(int64_t n) {
    return (n + kRows - 1) / kRows * kRows;
}

static Scratch divide(float* memory, int64_t n_rows, int64_t key_dim, int64_t value_dim) {
    const int64_t width = value_width(value_dim);
    Scratch scratch;
    scratch.keys = memory;
    scratch.values = scratch.keys + key_dim * kPositions;
    scratch.scores = scratch.values + kPositions * width;
    scratch.outputs = scratch.scores + n_rows * kPositions;
    scratch.sums = scratch.outputs + n_rows * width;
    scratch.largest = scratch.sums + 16 * n_rows;
    scratch.factors = scratch.largest + n_rows;
    return scratch;
}

template <typename Element>
static void attend(const AttentionBlockArguments& a) {
    const int64_t n_rows = a.n_tokens * a.n_heads, n_padded = padded_rows(n_rows);
    const int64_t width = value_width(a.value_dim);
    const Scratch scratch = divide(a.scratch, n_padded, a.key_dim, a.value_dim);
    for (int64_t row = 0; row < n_padded; ++row) {
        const bool has_sink = a.sinks && row < n_rows;
        scratch.largest[row] = has_sink ? a.sinks[row % a.n_heads] * kLog2E : kLowest;
        scratch.factors[row] = 0;
        _mm512_storeu_ps(scratch.sums + 16 * row,
                         _mm512_setr_ps(has_sink, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
        for (int64_t d = 0; d < width; d += 16) {
            _mm512_storeu_ps(scratch.outputs + row * width + d, _mm512_setzero_ps());
        }
        for (int64_t p = 0; p < kPositions; p += 16) {
            _mm512_storeu_ps(scratch.scores + row * kPositions + p, _mm512_setzero_ps());
        }
    }
    int64_t begin = a.begins[0], end = a.ends[0];
    for (int64_t token = 1; token < a.n_tokens; ++token) {
        if (a.begins[token] < begin) begin = a.begins[token];
        if (a.ends[token] > end) end = a.ends[token];
    }
    for (int64_t first = begin / kPositions * kPositions; first < end; first += kPositions) {
        const int64_t n = end - first < kPositions ? end - first : kPositions;
        unpack_keys<Element>(a, first, n, scratch.keys);
        unpack_values<Element>(a, first, n, scratch.values);
        for (int64_t row = 0; row < n_rows; row += kRows) attend_tile(a, row, first, scratch);
    }
    for (int64_t row = 0; row < n_rows; ++row) {
        const __m512 sum = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_loadu_ps(scratch.sums + 16 * row)));
        float* const to = a.output + row / a.n_heads * a.output_stride + row % a.n_heads * a.value_dim;
        for (int64_t d = 0; d < a.value_dim; d += 16) {
            const __m512 output = _mm512_loadu_ps(scratch.outputs + row * width + d);
            _mm512_mask_storeu_ps(to + d, lanes(a.value_dim - d), _mm512_div_ps(output, sum));
        }
    }
}

}  // namespace

size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
    const int64_t n_padded = padded_rows(n_rows);
    return size_t(kPositions * (key_dim + value_width(value_dim)) +
                  n_padded * (kPositions + value_width(value_dim) + 16 + 2));
}

void attention_block(const AttentionBlockArguments& a) {
    switch (a.cache) {
        case CacheType::F16:
            return attend<F16>(a);
        case CacheType::F32:
            return attend<F32>(a);
        case CacheType::BF16:
            return attend<BF16>(a);
        case CacheType::Q8_0:
            return attend<Q8_0>(a);
    }
}

}  // namespace ingot::runtime::cpu::avx512

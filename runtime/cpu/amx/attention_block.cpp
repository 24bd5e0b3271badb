// Attention of a block of tokens by tile registers: the method of runtime/cpu/attention_block.h, whose two
// products TDPBF16PS computes.
//
// The products stand on their side: scores are keys · queriesᵀ and outputs valuesᵀ · weightsᵀ. So a lane is a
// row (a token's query of one head) everywhere between the unpacking of the queries and the storing of the
// outputs: the largest score, the sum and what a row sees are vectors of 16 rows, and nothing is added up
// across lanes.
//
// Floats are sums of BF16, so that a product of floats is several of their terms. For scores, whose errors
// weigh as much as they are large, as many as floats need: queries have three terms, and keys as many as hold
// them exactly. Weights and values have two, a high and a low one, and the product of the two low ones is
// left out: 2^-17 of the whole.
//
// Positions go in blocks that begin at multiples of 128, whatever the tokens, and rows meet only their own
// lane: a row's result does not depend on the others.
#include "runtime/cpu/amx/attention_tiles.h"
#include "runtime/cpu/avx512/exp.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::amx {
namespace {

// The soft cap is applied to scores as such, all else to scores times log2 e, for which 2^x is e^x.
float query_factor(const AttentionBlockArguments& a) {
    return a.soft_cap > 0 ? a.scale : a.scale * kLog2E;
}

// Queries of 16 rows, with a column for each row: beyond the last row zeros.
void pack_queries(const AttentionBlockArguments& a, int64_t row_tile, const Scratch& scratch) {
    const __m512 factor = _mm512_set1_ps(query_factor(a));
    for (int64_t step = 0; step < scratch.key_steps; ++step) {
        const int64_t n = a.key_dim - step * kPair;
        __m512i rows[kQueryTerms][kTileRows];
        for (int64_t i = 0; i < kTileRows; ++i) {
            const int64_t row = row_tile * kTileRows + i;
            __m512 first = _mm512_setzero_ps(), second = first;
            if (row < a.n_tokens * a.n_heads) {
                const float* query =
                    a.queries + row / a.n_heads * a.query_stride + row % a.n_heads * a.key_dim + step * kPair;
                first = _mm512_mul_ps(_mm512_maskz_loadu_ps(avx512::lanes(n), query), factor);
                if (n > 16)
                    second = _mm512_mul_ps(_mm512_maskz_loadu_ps(avx512::lanes(n - 16), query + 16), factor);
            }
            __m512i terms[kQueryTerms];
            split(first, second, terms);
            for (int term = 0; term < kQueryTerms; ++term) rows[term][i] = terms[term];
        }
        std::byte* to = terms_of(scratch.queries(row_tile / 2), step, row_tile % 2, kQueryTerms);
        for (auto& of_term : rows) {
            avx512::transpose(of_term);
            for (const __m512i row : of_term) _mm512_store_si512(to, row), to += kTileRowBytes;
        }
    }
}

// Rows beyond the last see what that one does.
void begin_rows(const AttentionBlockArguments& a, int64_t row_tile, Rows& rows) {
    for (int64_t i = 0; i < kTileRows; ++i) {
        const int64_t last = a.n_tokens * a.n_heads - 1;
        const int64_t row = row_tile * kTileRows + i < last ? row_tile * kTileRows + i : last;
        const int64_t token = row / a.n_heads, head = row % a.n_heads;
        rows.largest[i] = a.sinks ? a.sinks[head] * kLog2E : kNoScore;
        rows.sums[i] = a.sinks ? 1 : 0;
        rows.slopes[i] = a.slopes ? -a.slopes[head] * kLog2E : 0;
        rows.begins[i] = int32_t(a.begins[token]);
        rows.ends[i] = int32_t(a.ends[token]);
    }
}

// Keys of n ≤ 128 positions from `first` on, with a row of a tile for each: zeros beyond n.
template <typename Element>
void unpack_keys(const AttentionBlockArguments& a, int64_t first, int64_t n, const Scratch& scratch) {
    for (int64_t p = 0; p < kPositions; ++p) {
        for (int64_t step = 0; step < scratch.key_steps; ++step) {
            __m512 halves[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
            for (int64_t d = step * kPair, i = 0; i < 2 && p < n; ++i, d += 16)
                halves[i] = Element::load(a.keys, (first + p) * a.key_stride + d, a.key_dim - d);
            __m512i terms[Element::kTerms];
            split(halves[0], halves[1], terms);
            std::byte* const tiles = scratch.keys(p / kPair, Element::kTerms);
            std::byte* to = terms_of(tiles, step, p % kPair / kTileRows, Element::kTerms);
            to += p % kTileRows * kTileRowBytes;
            for (int term = 0; term < Element::kTerms; ++term)
                _mm512_store_si512(to + term * kTileBytes, terms[term]);
        }
    }
}

template <typename Element>
constexpr int value_terms = Element::kTerms < kValueTerms ? Element::kTerms : kValueTerms;

// Values likewise, with a row of a tile for each dimension, and positions i and 16 + i side by side.
template <typename Element>
void unpack_values(const AttentionBlockArguments& a, int64_t first, int64_t n, const Scratch& scratch) {
    for (int64_t tile = 0; tile < 2 * scratch.value_pairs; ++tile) {
        for (int64_t step = 0; step < kBlockPairs; ++step) {
            const auto load = [&](int64_t p) {
                const int64_t d = tile * kTileRows;
                if (p >= n) return _mm512_setzero_ps();
                return Element::load(a.values, (first + p) * a.value_stride + d, a.value_dim - d);
            };
            __m512i terms[2][kTileRows];
            for (int64_t i = 0; i < kTileRows; ++i)
                split_pair(load(step * kPair + i), load(step * kPair + kTileRows + i), terms[0][i],
                           terms[1][i]);
            constexpr int kTerms = value_terms<Element>;
            std::byte* to = terms_of(scratch.values(tile / 2, kTerms), step, tile % 2, kTerms);
            for (int term = 0; term < kTerms; ++term) {
                avx512::transpose(terms[term]);
                for (const __m512i row : terms[term]) _mm512_store_si512(to, row), to += kTileRowBytes;
            }
        }
    }
}

// The soft cap and the distance's penalty, for the models that have them, and no score for what is not seen.
void adjust(const AttentionBlockArguments& a, int64_t first, const Rows& rows, float* scores) {
    const __m512 slopes = _mm512_load_ps(rows.slopes);
    const __m512i begins = _mm512_load_si512(rows.begins), ends = _mm512_load_si512(rows.ends);
    const __m512i lasts = _mm512_sub_epi32(ends, _mm512_set1_epi32(1));
    for (int64_t p = 0; p < kPositions; ++p) {
        const __m512i position = _mm512_set1_epi32(int32_t(first + p));
        const __mmask16 seen =
            _mm512_cmple_epi32_mask(begins, position) & _mm512_cmplt_epi32_mask(position, ends);
        float* const at = scores + p / kPair * kSumFloats + p % kPair * kTileRows;
        __m512 score = _mm512_load_ps(at);
        if (a.soft_cap > 0) score = _mm512_mul_ps(avx512::capped(score, a.soft_cap), _mm512_set1_ps(kLog2E));
        if (a.slopes) {
            const __m512 distance = _mm512_cvtepi32_ps(_mm512_sub_epi32(lasts, position));
            score = _mm512_fmadd_ps(slopes, distance, score);
        }
        _mm512_store_ps(at, _mm512_mask_mov_ps(_mm512_set1_ps(kLowestScore), seen, score));
    }
}

INGOT_INLINE __m512 exp2(__m512 x) {
    return avx512::exp2(_mm512_cmp_ps_mask(x, _mm512_set1_ps(kLeastExponent), _CMP_NLT_UQ), x);
}

// The rows' largest score so far, and what their sums and outputs have to be multiplied with for it.
void find_largest(const float* scores, Rows& rows, int64_t n_pairs, float* outputs) {
    constexpr int kChains = 4;  // for the latency of an instruction
    const __m512 before = _mm512_load_ps(rows.largest);
    __m512 most[kChains] = {before, before, before, before};
    for (int64_t i = 0; i < kBlockPairs; ++i) {
        const float* from = scores + i * kSumFloats;
        for (int64_t p = 0; p < kPair; p += kChains) {
            for (int64_t k = 0; k < kChains; ++k)
                most[k] = _mm512_max_ps(most[k], _mm512_load_ps(from + (p + k) * kTileRows));
        }
    }
    const __m512 largest = _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3]));
    const __mmask16 is_more = _mm512_cmp_ps_mask(largest, before, _CMP_GT_OQ);
    if (is_more == 0) return;
    const __m512 factors =
        _mm512_mask_mov_ps(_mm512_set1_ps(1), is_more, exp2(_mm512_sub_ps(before, largest)));
    _mm512_store_ps(rows.largest, largest);
    _mm512_store_ps(rows.sums, _mm512_mul_ps(_mm512_load_ps(rows.sums), factors));
    for (int64_t i = 0; i < n_pairs; ++i) {
        float* const of_pair = outputs + i * kSumFloats;
        for (int64_t j = 0; j < kHalfFloats; j += kTileRows)
            _mm512_store_ps(of_pair + j, _mm512_mul_ps(_mm512_load_ps(of_pair + j), factors));
    }
}

/// The scores of a pair of tiles of rows on their way to becoming weights 2^(score - the largest so far). A
/// line is positions p and 16 + p of 16 rows: the high and the low terms of both take the place of their
/// scores.
class Weighing {
  public:
    static constexpr int64_t kLines = 2 * kBlockPairs * kTileRows;

    Weighing() = default;
    Weighing(float* scores, Rows* rows, int64_t n_turns)
        : scores_(scores), rows_(rows), per_turn_(n_turns == 0 ? 0 : kLines * kWhole / n_turns) {}

    [[gnu::always_inline]] void do_some() {
        for (due_ += per_turn_; n_done_ * kWhole < due_; ++n_done_) do_line();
    }

    void finish() {
        for (; n_done_ < kLines; ++n_done_) do_line();
        for (int half = 0; half < 2; ++half)
            _mm512_store_ps(rows_[half].sums, _mm512_add_ps(_mm512_load_ps(rows_[half].sums), sums_[half]));
    }

  private:
    [[gnu::always_inline]] void do_line() {
        const int64_t tile = n_done_ / kTileRows, half = tile % 2;
        float* const at = scores_ + tile * kTileFloats + n_done_ * kTileRows;
        const __m512 largest = _mm512_load_ps(rows_[half].largest);
        const __m512 first = exp2(_mm512_sub_ps(_mm512_load_ps(at), largest));
        const __m512 second = exp2(_mm512_sub_ps(_mm512_load_ps(at + kTileFloats), largest));
        sums_[half] = _mm512_add_ps(sums_[half], _mm512_add_ps(first, second));
        __m512i high, low;
        split_pair(first, second, high, low);
        _mm512_store_si512(at, high);
        _mm512_store_si512(at + kTileFloats, low);
    }

    __m512 sums_[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    float* scores_ = nullptr;
    Rows* rows_ = nullptr;
    static constexpr int64_t kWhole = 1 << 10;
    int64_t per_turn_ = 0, due_ = 0, n_done_ = 0;  // lines, the first two times kWhole
};

/// With how many of a's terms, the greatest first, the j-th of b is multiplied: what the others add is too
/// small.
constexpr int partners(int a_terms, int b_terms, int j) {
    const int most = a_terms > b_terms ? a_terms : b_terms;
    return a_terms < most - j ? a_terms : most - j;
}
constexpr int products(int a_terms, int b_terms) {
    int n = 0;
    for (int j = 0; j < b_terms; ++j) n += partners(a_terms, b_terms, j);
    return n;
}

/// sums (2 × 2 tiles) += a · b of n_steps; or = if they are new. Of each step a and b are pairs of tiles, of
/// so many terms each.
///
/// Tile registers and vectors work at the same time, if a program has them take turns: a processor has few
/// tile registers to rename, and when they are used up it waits with all that follows.
// Not inline: the compiler knows nothing of the tile registers.
template <int a_terms, int b_terms>
[[gnu::noinline]] void multiply(const std::byte* a, const std::byte* b, int64_t n_steps, bool are_new,
                                float* sums, Weighing& meanwhile) {
    if (are_new) {
        clear_tile<0>(), clear_tile<1>(), clear_tile<2>(), clear_tile<3>();
    } else {
        load_tile<0>(sums), load_tile<1>(sums + kHalfFloats);
        load_tile<2>(sums + kTileFloats), load_tile<3>(sums + 3 * kTileFloats);
    }
    for (int64_t step = 0; step < n_steps; ++step, a += pair_bytes(a_terms), b += pair_bytes(b_terms)) {
        for (int j = 0; j < b_terms; ++j) {
            load_tile<6>(b + j * kTileBytes), load_tile<7>(b + (b_terms + j) * kTileBytes);
            for (int i = 0; i < partners(a_terms, b_terms, j); ++i) {
                load_tile<4>(a + i * kTileBytes), load_tile<5>(a + (a_terms + i) * kTileBytes);
                add_products<0, 4, 6>();
                add_products<1, 4, 7>();
                meanwhile.do_some();
                add_products<2, 5, 6>();
                add_products<3, 5, 7>();
                meanwhile.do_some();
            }
        }
    }
    store_tile<0>(sums), store_tile<1>(sums + kHalfFloats);
    store_tile<2>(sums + kTileFloats), store_tile<3>(sums + 3 * kTileFloats);
}

/// The positions of a block from `first` on meet all rows. While the scores of a pair of tiles of rows become
/// weights, the tile registers have the products of those before and after in hand.
template <typename Element>
struct Meeting {
    const AttentionBlockArguments& a;
    const Scratch& scratch;
    int64_t first;

    int64_t next_pair(int64_t pair) const {
        const __m512i begin = _mm512_set1_epi32(int32_t(first));
        const __m512i last = _mm512_set1_epi32(int32_t(first + kPositions - 1));
        for (; pair < scratch.row_pairs; ++pair) {
            for (int half = 0; half < 2; ++half) {
                const Rows& rows = scratch.rows(2 * pair + half);
                if ((_mm512_cmple_epi32_mask(_mm512_load_si512(rows.begins), last) &
                     _mm512_cmpgt_epi32_mask(_mm512_load_si512(rows.ends), begin)) != 0)
                    return pair;
            }
        }
        return pair;
    }

    bool sees_all(const Rows& rows) const {
        const __m512i begin = _mm512_set1_epi32(int32_t(first));
        const __m512i last = _mm512_set1_epi32(int32_t(first + kPositions - 1));
        return (_mm512_cmple_epi32_mask(_mm512_load_si512(rows.begins), begin) &
                _mm512_cmpgt_epi32_mask(_mm512_load_si512(rows.ends), last)) == 0xffff;
    }

    static constexpr int kElementTerms = Element::kTerms, kTermsOfValues = value_terms<Element>;

    void multiply_keys(int64_t pair, float* scores, Weighing& meanwhile) const {
        for (int64_t i = 0; i < kBlockPairs; ++i)
            multiply<kElementTerms, kQueryTerms>(scratch.keys(i, kElementTerms), scratch.queries(pair),
                                                 scratch.key_steps, true, scores + i * kSumFloats, meanwhile);
    }
    void add_values(int64_t pair, const float* weights, Weighing& meanwhile) const {
        for (int64_t i = 0; i < scratch.value_pairs; ++i)
            multiply<kTermsOfValues, kWeightTerms>(scratch.values(i, kTermsOfValues),
                                                   reinterpret_cast<const std::byte*>(weights), kBlockPairs,
                                                   false, scratch.outputs(pair) + i * kSumFloats, meanwhile);
    }

    void run() const {
        int64_t pair = next_pair(0), before = -1;
        float *scores = scratch.scores(0), *other = scratch.scores(1);
        Weighing nothing;
        if (pair < scratch.row_pairs) multiply_keys(pair, scores, nothing);
        while (pair < scratch.row_pairs) {
            for (int half = 0; half < 2; ++half) {
                Rows& rows = scratch.rows(2 * pair + half);
                float* const own = scores + half * kHalfFloats;
                if (a.soft_cap > 0 || a.slopes || !sees_all(rows)) adjust(a, first, rows, own);
                find_largest(own, rows, scratch.value_pairs, scratch.outputs(pair) + half * kHalfFloats);
            }
            const int64_t after = next_pair(pair + 1);
            const bool has_before = before >= 0, has_after = after < scratch.row_pairs;
            const int64_t n_value_turns = products(kTermsOfValues, kWeightTerms) * scratch.value_pairs;
            const int64_t n_key_turns = products(kElementTerms, kQueryTerms) * scratch.key_steps;
            const int64_t n_turns = 2 * kBlockPairs * (has_before * n_value_turns + has_after * n_key_turns);
            Weighing weighing(scores, &scratch.rows(2 * pair), n_turns);
            if (has_before) add_values(before, other, weighing);
            if (has_after) multiply_keys(after, other, weighing);
            weighing.finish();
            before = pair, pair = after;
            float* const done = scores;
            scores = other, other = done;
        }
        if (before >= 0) add_values(before, other, nothing);
    }
};

// Outputs that are denormal numbers become zeros: tile registers take them for that, but only of rows that
// they get to see once more.
void store_rows(const AttentionBlockArguments& a, int64_t row_tile, const Scratch& scratch) {
    const int64_t n_rows = a.n_tokens * a.n_heads;
    const __m512 least = _mm512_set1_ps(0x1p-126f);
    const __m512 sums = _mm512_load_ps(scratch.rows(row_tile).sums);
    const float* const outputs = scratch.outputs(row_tile / 2) + row_tile % 2 * kHalfFloats;
    for (int64_t d = 0; d < a.value_dim; d += kTileRows) {
        __m512 output[kTileRows];
        for (int i = 0; i < kTileRows; ++i) {
            output[i] = _mm512_load_ps(outputs + d / kPair * kSumFloats + (d % kPair + i) * kTileRows);
            const __mmask16 normal = _mm512_cmp_ps_mask(_mm512_abs_ps(output[i]), least, _CMP_NLT_UQ);
            output[i] = _mm512_div_ps(_mm512_maskz_mov_ps(normal, output[i]), sums);
        }
        avx512::transpose(output);
        for (int64_t i = 0; i < kTileRows && row_tile * kTileRows + i < n_rows; ++i) {
            const int64_t row = row_tile * kTileRows + i;
            float* const to =
                a.output + row / a.n_heads * a.output_stride + row % a.n_heads * a.value_dim + d;
            _mm512_mask_storeu_ps(to, avx512::lanes(a.value_dim - d), output[i]);
        }
    }
}

template <typename Element>
void attend(const AttentionBlockArguments& a) {
    const TileRegisters registers;
    Scratch scratch(a.n_tokens * a.n_heads, a.key_dim, a.value_dim);
    const auto address = reinterpret_cast<uintptr_t>(a.scratch);
    scratch.memory =
        reinterpret_cast<std::byte*>(a.scratch) + (kTileRowBytes - address % kTileRowBytes) % kTileRowBytes;
    for (int64_t tile = 0; tile < 2 * scratch.row_pairs; ++tile) {
        pack_queries(a, tile, scratch);
        begin_rows(a, tile, scratch.rows(tile));
    }
    for (int64_t i = 0; i < scratch.row_pairs * scratch.value_pairs * kSumFloats; i += kTileRows)
        _mm512_store_ps(scratch.outputs(0) + i, _mm512_setzero_ps());
    int64_t begin = a.begins[0], end = a.ends[0];
    for (int64_t token = 1; token < a.n_tokens; ++token) {
        if (a.begins[token] < begin) begin = a.begins[token];
        if (a.ends[token] > end) end = a.ends[token];
    }
    for (int64_t first = begin / kPositions * kPositions; first < end; first += kPositions) {
        const int64_t n = end - first < kPositions ? end - first : kPositions;
        unpack_keys<Element>(a, first, n, scratch);
        unpack_values<Element>(a, first, n, scratch);
        Meeting<Element>{a, scratch, first}.run();
    }
    for (int64_t tile = 0; tile * kTileRows < a.n_tokens * a.n_heads; ++tile) store_rows(a, tile, scratch);
}

}  // namespace

size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
    return size_t(Scratch(n_rows, key_dim, value_dim).n_bytes + kTileRowBytes) / sizeof(float);
}

void attention_block(const AttentionBlockArguments& a) {
    switch (a.cache) {
        case CacheType::F16:
            return attend<Cached<avx512::CachedF16, 2>>(a);
        case CacheType::F32:
            return attend<Cached<avx512::CachedF32, 3>>(a);
        case CacheType::BF16:
            return attend<Cached<avx512::CachedBF16, 1>>(a);
        case CacheType::Q8_0:
            return attend<Cached<avx512::CachedQ8_0, 3>>(a);
    }
}

}  // namespace ingot::runtime::cpu::amx

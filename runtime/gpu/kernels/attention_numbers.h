#pragma once
// What prompts' attention multiplies: numbers of 16 bits, which tensor cores want, by type of cache.
//
// clang-format off
//     F16, Q8_0   halves; queries and weights are rounded to halves, each by up to 2^-12 of itself. What is out of a half's range
//                 becomes its largest number
//     BF16        bfloat16s, as they lie in the cache; queries and weights are sums of two, which is right to 2^-16
//     F32         everything is the sum of three bfloat16s, which has all digits of a float. Of the nine products of two such sums,
//                 the three that are smaller than a float's last digit are left out
// clang-format on
#include "arguments.h"
#include "attention.h"

namespace ingot {
namespace runtime {
namespace gpu {

template <int kType>
struct Numbers {
    enum : int {
        kAreBf16 = kType == kCacheBF16 || kType == kCacheF32 ? 1 : 0,
        kOfCache = kType == kCacheF32 ? 3 : 1,  // numbers of which an element is the sum
        kOfQuery = kType == kCacheF32    ? 3
                   : kType == kCacheBF16 ? 2
                                         : 1,                            // … of a query, or a weight
        kAreCopied = kType == kCacheF16 || kType == kCacheBF16 ? 1 : 0,  // as they lie in the cache
    };
    /// Whether this device has kernels for such caches.
    FUNCTION static constexpr bool are_there() { return kAreBf16 == 0 || has_bf16_products(); }
    /// Whether the product of a query's number by a cache's matters.
    FUNCTION static bool matters(int of_query, int of_cache) { return of_query + of_cache < kOfQuery; }
};

FUNCTION float in_range_of_half(float x) {
    return min(max(x, -65504.0f), 65504.0f);
}

/// Two floats as sums of n numbers: a word has one of each, the first one low.
template <int n>
struct TwoSums {
    uint32_t of[n];
};
template <int n>
FUNCTION TwoSums<n> two_bf16_sums(float low, float high) {
    TwoSums<n> words;
    for (int i = 0; i < n; ++i) {  // digits are cut off, the last ones rounded
        const uint32_t rounding = i == n - 1 ? 0x8000u : 0u;
        const uint32_t of_low = bits_of(low) + rounding, of_high = bits_of(high) + rounding;
        words.of[i] = of_low >> 16 | (of_high & 0xffff0000u);
        low -= float_of(of_low & 0xffff0000u);  // exact
        high -= float_of(of_high & 0xffff0000u);
    }
    return words;
}
template <int kType>
FUNCTION TwoSums<Numbers<kType>::kOfQuery> two_of_query(float low, float high) {
    if (Numbers<kType>::kAreBf16 != 0) return two_bf16_sums<Numbers<kType>::kOfQuery>(low, high);
    TwoSums<Numbers<kType>::kOfQuery> words;
    words.of[0] = halves_of(in_range_of_half(low), in_range_of_half(high));
    return words;
}

/// Eight neighbours of a row of the cache, likewise.
template <int kType>
struct EightSums {
    uint4 of[Numbers<kType>::kOfCache];
};
template <int kType>
FUNCTION EightSums<kType> sums_of(LOCAL(const Eight) eight) {
    EightSums<kType> sums;
    TwoSums<Numbers<kType>::kOfCache> words[4];
    for (int w = 0; w < 4; ++w) {
        const float low = eight.x[2 * w], high = eight.x[2 * w + 1];
        if (Numbers<kType>::kAreBf16 != 0) {
            words[w] = two_bf16_sums<Numbers<kType>::kOfCache>(low, high);
        } else {
            words[w].of[0] = halves_of(in_range_of_half(low), in_range_of_half(high));
        }
    }
    for (int i = 0; i < Numbers<kType>::kOfCache; ++i)
        sums.of[i] = uint4{words[0].of[i], words[1].of[i], words[2].of[i], words[3].of[i]};
    return sums;
}
template <int kType>
FUNCTION EightSums<kType> sums_of(LOCAL(const RawEight<kType>) raw) {
    if (Numbers<kType>::kAreCopied == 0) return sums_of<kType>(eight_of<kType>(raw));
    EightSums<kType> sums;
    sums.of[0] = uint4{raw.words[0], raw.words[1], raw.words[2], raw.words[3]};
    return sums;
}

template <int kType>
FUNCTION void add_numbers(Thread me, uint4 a, uint2 b, LOCAL(ProductSums) sums) {
    if (Numbers<kType>::kAreBf16 != 0) {
        me.add_product_bf16(a, b, sums);
    } else {
        me.add_product_f16(a, b, sums);
    }
}

/// 16 elements of 16 queries, or of their weights: the lane's part.
template <int kType>
struct SixteenOfQueries {
    uint4 of[Numbers<kType>::kOfQuery];
};
/// Two neighbours each: of the lane's first query, of its second one, and the same further on.
template <int kType>
FUNCTION SixteenOfQueries<kType> sixteen_of(float a0, float a1, float b0, float b1, float c0, float c1,
                                            float d0, float d1) {
    const auto a = two_of_query<kType>(a0, a1), b = two_of_query<kType>(b0, b1);
    const auto c = two_of_query<kType>(c0, c1), d = two_of_query<kType>(d0, d1);
    SixteenOfQueries<kType> queries;
    for (int i = 0; i < Numbers<kType>::kOfQuery; ++i)
        queries.of[i] = uint4{a.of[i], b.of[i], c.of[i], d.of[i]};
    return queries;
}

// ── A lane has parts of two queries ─────────────────────────────────────────────────────────────────────

struct TileQuery {
    int row;        // (token, head) of q and y
    int position;   // of the token
    int first;      // position that it sees
    bool is_there;  // else the tile ends before it
};
FUNCTION TileQuery query_of(ARGUMENTS(AttentionArguments) a, int kv_head, int number) {
    const int n_sharing = a.n_heads / a.n_kv_heads, n = a.n_tokens * n_sharing;
    const int there = min(number, n - 1), token = there / n_sharing;
    TileQuery query;
    query.row = token * a.n_heads + kv_head * n_sharing + there % n_sharing;
    query.position = a.positions[token];
    query.first = first_seen(a, query.position);
    query.is_there = number < n;
    return query;
}
/// An element of it, scaled.
FUNCTION float query_element(ARGUMENTS(AttentionArguments) a, LOCAL(const TileQuery) query, int element) {
    return element < a.key_dim ? a.scale * a.q[int64_t(query.row) * a.key_dim + element] : 0.0f;
}
/// The positions that the queries of a tile see, from the first on; or the group's part of them.
FUNCTION PositionRange range_of_tile(ARGUMENTS(AttentionArguments) a, Thread me, int first_query,
                                     int n_of_tile) {
    const int n_sharing = a.n_heads / a.n_kv_heads;
    const int last_query = min(first_query + n_of_tile, a.n_tokens * n_sharing) - 1;
    const int seen = first_seen(a, a.positions[first_query / n_sharing]);
    return range_of_split(a, int(me.z), seen, a.positions[last_query / n_sharing]);
}

/// The scores of a tile of positions, then the weights: rows of queries l / 4 and 8 + l / 4 by positions, as
/// the dialect gives products.
template <int kKeys>
struct TileScores {
    ProductSums of[kKeys / 8];
};

/// Where one of the lane's two queries stands.
struct TileState {
    float largest, sum;  // of the scores; the lane's part of Σ exp(score - largest)
    float kept;          // of what was before this tile
};

/// Scores become weights, for the tile from position p on.
template <int kKeys>
FUNCTION void weigh_tile(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const TileQuery) query, int second,
                         int p, int end, LOCAL(TileScores<kKeys>) scores, LOCAL(TileState) state) {
    const int column = 2 * int(me.lane() % 4);  // the lane's first
    if (a.soft_cap > 0.0f) {
        UNROLLED for (int i = 0; i < kKeys / 4; ++i) {
            LOCAL(float) score = scores.of[i / 2].of[second + i % 2];
            score = a.soft_cap * tanh(score * a.one_by_soft_cap);
        }
    }
    if (a.slopes) {
        const float slope = a.slopes[query.row % a.n_heads];
        UNROLLED for (int i = 0; i < kKeys / 4; ++i) scores.of[i / 2].of[second + i % 2] -=
            slope * float(query.position - p - column - i / 2 * 8 - i % 2);
    }
    // Positions that the query sees, from the lane's first on.
    const int begin = query.first - p - column, behind = min(query.position + 1, end) - p - column;
    if (begin > 0 || behind < kKeys) {
        UNROLLED for (int i = 0; i < kKeys / 4; ++i) {
            const int at = i / 2 * 8 + i % 2;
            if (at < begin || at >= behind) scores.of[i / 2].of[second + i % 2] = -INFINITY;
        }
    }
    float largest = state.largest;
    UNROLLED for (int i = 0; i < kKeys / 4; ++i) largest = fmax(largest, scores.of[i / 2].of[second + i % 2]);
    largest = fmax(largest, me.shuffle_xor(largest, 1));
    largest = fmax(largest, me.shuffle_xor(largest, 2));
    const float base = largest == -INFINITY ? 0.0f : largest;  // nothing was seen yet
    state.kept = exp(state.largest - base);
    state.largest = largest;
    float sum = 0.0f;
    UNROLLED for (int i = 0; i < kKeys / 4; ++i) {
        LOCAL(float) score = scores.of[i / 2].of[second + i % 2];
        score = exp(score - base);
        sum += score;
    }
    state.sum = state.sum * state.kept + sum;
}

/// The weights of 16 positions.
template <int kType, int kKeys>
FUNCTION SixteenOfQueries<kType> sixteen_weights(LOCAL(const TileScores<kKeys>) scores, int step) {
    const ProductSums left = scores.of[2 * step], right = scores.of[2 * step + 1];
    return sixteen_of<kType>(left.of[0], left.of[1], left.of[2], left.of[3], right.of[0], right.of[1],
                             right.of[2], right.of[3]);
}

/// What a query's answer is to be multiplied with, and where its first element goes.
struct TileAnswerPlace {
    GLOBAL(float) y;
    float factor;
};
/// `is_first`: the thread notes the largest score and the sum, where the answer is unfinished.
FUNCTION TileAnswerPlace answer_place(ARGUMENTS(AttentionArguments) a, Thread me,
                                      LOCAL(const TileQuery) query, LOCAL(const TileState) state,
                                      bool is_first) {
    float sum = state.sum + me.shuffle_xor(state.sum, 1);
    sum += me.shuffle_xor(sum, 2);
    TileAnswerPlace place = {a.y + int64_t(query.row) * a.value_dim, 1.0f};
    if (a.n_splits > 1) {
        GLOBAL(float) partial = a.partial + (int64_t(query.row) * a.n_splits + me.z) * (2 + a.value_dim);
        if (is_first && query.is_there) {
            partial[0] = state.largest;
            partial[1] = sum;
        }
        place.y = partial + 2;
        return place;
    }
    const float sink = a.sinks ? float(a.sinks[query.row % a.n_heads]) : -INFINITY;
    const float largest = fmax(state.largest, sink);
    const float kept = exp(state.largest - largest);
    place.factor = kept / (sum * kept + exp(sink - largest));
    return place;
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

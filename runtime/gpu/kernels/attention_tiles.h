#pragma once
// Attention of many tokens, as of a prompt (Dao 2023): a group has a tile of 64 queries, which are tokens by
// the heads that share a key/value head, and walks over tiles of keys and values in its memory. A warp has
// 16 of the queries. Values are on their way while the scores are computed, and the next keys while the
// values are added.
#include "attention_numbers.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// Heads of up to kDim elements.
template <int kType, int kDim>
struct PromptTile {
    enum : int {
        // Positions of a tile: what 32 KiB hold, in sixteens.
        kKeys = kDim == 256          ? 16
                : kDim == 64         ? (kType == kCacheF32 ? 32 : 64)
                : kType == kCacheF32 ? 16
                : kType == kCacheF16 ? 48
                                     : 32,
        kSteps = kDim / 16,          // products of 16 elements
        kEights = kDim / 8,          // of a row
        kRowWords = kDim / 2 + 4,    // from row to row: eight rows' sixteen bytes are in 32 banks
        kPlane = kKeys * kRowWords,  // of one of the numbers that make an element
        kWords = kPlane * int(Numbers<kType>::kOfCache),
        kRowsAtOnce = int(kTileThreads) / kEights,  // that the group fetches: a thread has a column of them
        kEightsOfThread = kKeys / kRowsAtOnce,
    };
    static_assert(kKeys % 16 == 0 && kKeys % kRowsAtOnce == 0, "");
};
template <int kType, int kDim>
struct PromptShared {
    enum : int { kWords = PromptTile<kType, kDim>::kWords };
    GROUP_ARRAY(uint32_t, keys, int(kWords));    // (number, position, two elements)
    GROUP_ARRAY(uint32_t, values, int(kWords));  // likewise
};

/// Keys or values of a head.
struct HeadRows {
    GLOBAL(const uint8_t) cache;
    int64_t stride, first;  // elements
    int n;                  // elements of the head
};

template <int kType, int kDim>
struct TileOfRows {
    using Tile = PromptTile<kType, kDim>;
    /// What a thread fetches, where it doesn't go to the group's memory as it is.
    struct Fetched {
        RawEight<kType> of[Tile::kEightsOfThread];
    };

    /// The thread's first row, its eight of each row, and where they go.
    FUNCTION static int row_of(Thread me) { return int(me.index) / Tile::kEights; }
    FUNCTION static int eight_of_row(Thread me) { return int(me.index) % Tile::kEights; }
    FUNCTION static int place_of(Thread me, int i) {
        return (row_of(me) + i * Tile::kRowsAtOnce) * Tile::kRowWords + 4 * eight_of_row(me);
    }

    /// Rows p … are on their way; from `end` on there are zeros.
    FUNCTION static void fetch(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const HeadRows) rows, int p,
                               int end, GROUP(uint32_t) words, LOCAL(Fetched) fetched) {
        if (kType != kCacheQ8_0 && a.is_wide == 0) return;
        int64_t at = int64_t(p + row_of(me)) * rows.stride + rows.first + 8 * eight_of_row(me);
        const int n_rows = 8 * eight_of_row(me) < rows.n ? end - p - row_of(me) : 0;
        UNROLLED for (int i = 0; i < Tile::kEightsOfThread; ++i) {
            const bool is_there = i * Tile::kRowsAtOnce < n_rows;
            if (Numbers<kType>::kAreCopied != 0) {
                if (is_there) {
                    begin_copy(words + place_of(me, i), rows.cache + 2 * at);
                } else {
                    store_four(words + place_of(me, i), uint4{0, 0, 0, 0});
                }
            } else {
                for (int w = 0; w < (kType == kCacheF32 ? 8 : 4); ++w) fetched.of[i].words[w] = 0;
                if (is_there) fetched.of[i] = raw_eight<kType>(rows.cache, at);
            }
            at += Tile::kRowsAtOnce * rows.stride;
        }
    }

    /// … and now they are in the group's memory, after a barrier.
    FUNCTION static void keep(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const HeadRows) rows, int p,
                              int end, GROUP(uint32_t) words, LOCAL(const Fetched) fetched) {
        if (kType != kCacheQ8_0 && a.is_wide == 0) {
            for (int i = 0; i < Tile::kEightsOfThread; ++i)
                store_sums(me, i, words, sums_one_by_one(me, rows, p, end, i));
        } else if (Numbers<kType>::kAreCopied != 0) {
            me.end_copies();
        } else {
            UNROLLED for (int i = 0; i < Tile::kEightsOfThread; ++i)
                store_sums(me, i, words, sums_of<kType>(fetched.of[i]));
        }
    }
    FUNCTION static void store_sums(Thread me, int i, GROUP(uint32_t) words,
                                    LOCAL(const EightSums<kType>) sums) {
        for (int c = 0; c < Numbers<kType>::kOfCache; ++c)
            store_four(words + (c * Tile::kPlane + place_of(me, i)), sums.of[c]);
    }
    /// Elements that are at any place.
    FUNCTION static EightSums<kType> sums_one_by_one(Thread me, LOCAL(const HeadRows) rows, int p, int end,
                                                     int i) {
        const int position = p + row_of(me) + i * Tile::kRowsAtOnce, first = 8 * eight_of_row(me);
        const int64_t at = position * rows.stride + rows.first + first;
        Eight eight;
        for (int j = 0; j < 8; ++j)
            eight.x[j] = position < end && first + j < rows.n ? cached<kType>(rows.cache, at + j) : 0.0f;
        return sums_of<kType>(eight);
    }
};

/// The lane's place in what rows_of() takes: rows 0 … 7, their next eight, and the same of rows 8 … 15; and
/// in what columns_of() takes, where rows 8 … 15 come before the next eight.
struct LanePlaces {
    int of_rows, of_columns;  // words
};
template <typename Tile>
FUNCTION LanePlaces lane_places(Thread me) {
    const int row = int(me.lane() % 8), second = int(me.lane() / 8 % 2), upper = int(me.lane() / 16);
    return {(row + 8 * upper) * Tile::kRowWords + 4 * second,
            (row + 8 * second) * Tile::kRowWords + 4 * upper};
}

/// Rows of queries by elements of the values, as the dialect gives products.
template <int kDim>
struct TileAnswers {
    ProductSums of[kDim / 8];
};

template <int kType, int kDim, typename Scores>
FUNCTION void score_tile(Thread me, LOCAL(const LanePlaces) at, GROUP(uint32_t) keys,
                         LOCAL(const SixteenOfQueries<kType>) step_query, int step, LOCAL(Scores) scores) {
    using Tile = PromptTile<kType, kDim>;
    UNROLLED for (int n = 0; n < Tile::kKeys / 8; n += 2) {
        UNROLLED for (int c = 0; c < Numbers<kType>::kOfCache; ++c) {
            const uint4 key =
                me.rows_of(keys, at.of_rows + c * Tile::kPlane + 8 * n * Tile::kRowWords + 8 * step);
            UNROLLED for (int i = 0; i < Numbers<kType>::kOfQuery; ++i) {
                if (!Numbers<kType>::matters(i, c)) continue;
                add_numbers<kType>(me, step_query.of[i], uint2{key.x, key.y}, scores.of[n]);
                add_numbers<kType>(me, step_query.of[i], uint2{key.z, key.w}, scores.of[n + 1]);
            }
        }
    }
}

/// 16 positions' values from element 8n on, 32 of them.
template <int kType, int kDim>
FUNCTION void add_tile_values(Thread me, LOCAL(const LanePlaces) at, GROUP(uint32_t) values,
                              LOCAL(const SixteenOfQueries<kType>) weights, int step, int n,
                              LOCAL(TileAnswers<kDim>) answers) {
    using Tile = PromptTile<kType, kDim>;
    UNROLLED for (int c = 0; c < Numbers<kType>::kOfCache; ++c) {
        const int place = at.of_columns + c * Tile::kPlane + 16 * step * Tile::kRowWords + 4 * n;
        const uint4 value = me.columns_of(values, place), more = me.columns_of(values, place + 8);
        UNROLLED for (int i = 0; i < Numbers<kType>::kOfQuery; ++i) {
            if (!Numbers<kType>::matters(i, c)) continue;
            add_numbers<kType>(me, weights.of[i], uint2{value.x, value.y}, answers.of[n]);
            add_numbers<kType>(me, weights.of[i], uint2{value.z, value.w}, answers.of[n + 1]);
            add_numbers<kType>(me, weights.of[i], uint2{more.x, more.y}, answers.of[n + 2]);
            add_numbers<kType>(me, weights.of[i], uint2{more.z, more.w}, answers.of[n + 3]);
        }
    }
}

/// A query's answer, of which the lane has elements 8n + 2t and 8n + 2t + 1.
template <int kDim>
FUNCTION void write_tile_answer(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const TileQuery) query,
                                int second, LOCAL(const TileState) state,
                                LOCAL(const TileAnswers<kDim>) answers) {
    const int first = 2 * int(me.lane() % 4);
    const TileAnswerPlace place = answer_place(a, me, query, state, first == 0);
    if (!query.is_there) return;
    UNROLLED for (int n = 0; n < kDim / 8; ++n) {
        for (int i = 0; i < 2; ++i) {
            const int element = 8 * n + first + i;
            if (element < a.value_dim) place.y[element] = answers.of[n].of[second + i] * place.factor;
        }
    }
}

/// Group (tile, key/value head, split); the last queries, which see most, come first.
template <int kType, int kDim>
FUNCTION void attend_tile(ARGUMENTS(AttentionArguments) a, Thread me, GROUP(uint32_t) keys,
                          GROUP(uint32_t) values) {
    using Tile = PromptTile<kType, kDim>;
    using Rows = TileOfRows<kType, kDim>;
    const int n_sharing = a.n_heads / a.n_kv_heads, kv_head = int(me.y);
    const int n_tiles = (a.n_tokens * n_sharing + kTileQueries - 1) / kTileQueries;
    const int first_query = (n_tiles - 1 - int(me.x)) * kTileQueries;
    const int two = 2 * int(me.lane() % 4);
    const int mine = first_query + 16 * int(me.warp()) + int(me.lane() / 4);
    const TileQuery query0 = query_of(a, kv_head, mine), query1 = query_of(a, kv_head, mine + 8);
    const HeadRows key_rows = {a.keys, a.key_stride, int64_t(kv_head) * a.key_dim, a.key_dim};
    const HeadRows value_rows = {a.values, a.value_stride, int64_t(kv_head) * a.value_dim, a.value_dim};
    const PositionRange range = range_of_tile(a, me, first_query, kTileQueries);
    typename Rows::Fetched fetched;
    Rows::fetch(a, me, key_rows, range.begin, range.end, keys, fetched);

    SixteenOfQueries<kType> q[Tile::kSteps];
    UNROLLED for (int s = 0; s < Tile::kSteps; ++s) {
        const int e = 16 * s + two;
        q[s] = sixteen_of<kType>(query_element(a, query0, e), query_element(a, query0, e + 1),
                                 query_element(a, query1, e), query_element(a, query1, e + 1),
                                 query_element(a, query0, e + 8), query_element(a, query0, e + 9),
                                 query_element(a, query1, e + 8), query_element(a, query1, e + 9));
    }
    TileAnswers<kDim> answers;
    UNROLLED for (int n = 0; n < kDim / 8; ++n) {
        for (int i = 0; i < 4; ++i) answers.of[n].of[i] = 0.0f;
    }
    TileState state0 = {-INFINITY, 0.0f, 0.0f}, state1 = state0;
    const LanePlaces at = lane_places<Tile>(me);

    for (int p = range.begin; p < range.end; p += Tile::kKeys) {
        Rows::keep(a, me, key_rows, p, range.end, keys, fetched);
        me.barrier();  // the keys are there, and the values before them have been read
        Rows::fetch(a, me, value_rows, p, range.end, values, fetched);
        TileScores<Tile::kKeys> scores;
        UNROLLED for (int n = 0; n < Tile::kKeys / 8; ++n) {
            for (int i = 0; i < 4; ++i) scores.of[n].of[i] = 0.0f;
        }
        UNROLLED for (int s = 0; s < Tile::kSteps; s += 2) {
            if (16 * s >= a.key_dim) continue;
            score_tile<kType, kDim>(me, at, keys, q[s], s, scores);
            score_tile<kType, kDim>(me, at, keys, q[s + 1], s + 1, scores);
        }
        Rows::keep(a, me, value_rows, p, range.end, values, fetched);
        me.barrier();  // the values are there, and the keys have been read
        if (p + Tile::kKeys < range.end)
            Rows::fetch(a, me, key_rows, p + Tile::kKeys, range.end, keys, fetched);
        weigh_tile(a, me, query0, 0, p, range.end, scores, state0);
        weigh_tile(a, me, query1, 2, p, range.end, scores, state1);
        UNROLLED for (int n = 0; n < kDim / 8; ++n) {
            for (int i = 0; i < 4; ++i) answers.of[n].of[i] *= i < 2 ? state0.kept : state1.kept;
        }
        SixteenOfQueries<kType> weights[Tile::kKeys / 16];
        UNROLLED for (int s = 0; s < Tile::kKeys / 16; ++s) weights[s] = sixteen_weights<kType>(scores, s);
        UNROLLED for (int n = 0; n < kDim / 8; n += 4) {
            if (8 * n >= a.value_dim) continue;
            UNROLLED for (int s = 0; s < Tile::kKeys / 16; ++s)
                add_tile_values<kType, kDim>(me, at, values, weights[s], s, n, answers);
        }
    }
    write_tile_answer<kDim>(a, me, query0, 0, state0, answers);
    write_tile_answer<kDim>(a, me, query1, 2, state1, answers);
}

#define PROMPT_ATTENTION(type, dim, n_groups)                                                          \
    using PromptShared##dim##type = PromptShared<kCache##type, dim>;                                   \
    BOUNDED_GROUP_KERNEL(prompt_attention_##dim##_##type, AttentionArguments, PromptShared##dim##type, \
                         kTileThreads, n_groups) {                                                     \
        if (Numbers<kCache##type>::are_there())                                                        \
            attend_tile<kCache##type, dim>(a, me, shared.keys + 0, shared.values + 0);                 \
    }
PROMPT_ATTENTION(F16, 64, 4)
PROMPT_ATTENTION(F16, 128, 3)
PROMPT_ATTENTION(F16, 256, 2)
PROMPT_ATTENTION(Q8_0, 64, 3)
PROMPT_ATTENTION(Q8_0, 128, 3)
PROMPT_ATTENTION(Q8_0, 256, 2)
PROMPT_ATTENTION(BF16, 64, 3)
PROMPT_ATTENTION(BF16, 128, 2)
PROMPT_ATTENTION(F32, 64, 3)
PROMPT_ATTENTION(F32, 128, 2)
#undef PROMPT_ATTENTION

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

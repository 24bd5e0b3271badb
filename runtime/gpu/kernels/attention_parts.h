#pragma once
// Attention of many tokens where heads have so many elements that a warp can't have them all: latent
// attention, and caches whose elements are sums of numbers. Four warps of a group, or eight, share 16
// queries; each has a part of the elements of keys and one of the elements of values. What they find of the
// scores is added up in the group's memory. Keys and values come from the cache as a lane multiplies them.
#include "attention_numbers.h"

namespace ingot {
namespace runtime {
namespace gpu {

template <int kType>
struct PartedTile {
    enum : int {
        kKeys = int(Numbers<kType>::kOfQuery) == 1 ? 32 : 16,  // positions
        kScores = 16 * kKeys,                                  // of a warp
        kAllScores = int(kPartedThreads) / 32 * kScores,
    };
};
template <int kType>
struct PartedShared {
    enum : int { kScores = 2 * int(PartedTile<kType>::kAllScores) };
    GROUP_ARRAY(float, scores, int(kScores));  // (tile % 2, warp, number of the lane's, lane)
};

/// Keys of up to kUnits * kParts * 32 elements, values of up to kSpans * kParts * 64. Of a unit a lane takes
/// eight neighbours of a row, which are its elements of two products: queries have the same order. Of a span
/// it takes eight neighbours, too, which are one of each of eight products.
template <int kType, int kParts, int kUnits, int kSpans>
struct PartedHeads {
    using Tile = PartedTile<kType>;
    enum : int {
        kQueries = int(kPartedThreads) / 32 / kParts * 16,
        kKeys = Tile::kKeys,
        kBlocks = kKeys / 8,
        kSteps = kKeys / 16
    };
    struct Query {
        SixteenOfQueries<kType> of[2 * kUnits];
    };
    struct Answers {
        ProductSums of[kSpans][8];
    };
    struct RawKeys {
        RawEight<kType> of[kBlocks];
    };
    struct RawValues {
        RawEight<kType> of[4];
    };
    using Scores = TileScores<kKeys>;

    struct Place {
        int part, row, two;  // the warp's part; of the lane l, l / 4 and l % 4
    };

    /// The lane's first element of a unit, of a span.
    FUNCTION static int in_unit(LOCAL(const Place) at, int u) {
        return 32 * (kParts * u + at.part) + 8 * at.two;
    }
    FUNCTION static int in_span(LOCAL(const Place) at, int s) {
        return 64 * (kParts * s + at.part) + 8 * at.row;
    }

    FUNCTION static RawEight<kType> eight_at(GLOBAL(const uint8_t) cache, int64_t at, bool is_there) {
        RawEight<kType> raw;
        for (int w = 0; w < (kType == kCacheF32 ? 8 : 4); ++w) raw.words[w] = 0;
        if (is_there) raw = raw_eight<kType>(cache, at);
        return raw;
    }

    FUNCTION static void take_query(ARGUMENTS(AttentionArguments) a, LOCAL(const Place) at,
                                    LOCAL(const TileQuery) query0, LOCAL(const TileQuery) query1,
                                    LOCAL(Query) query) {
        UNROLLED for (int u = 0; u < kUnits; ++u) {
            UNROLLED for (int half = 0; half < 2; ++half) {
                const int e = in_unit(at, u) + 4 * half;
                query.of[2 * u + half] =
                    sixteen_of<kType>(query_element(a, query0, e), query_element(a, query0, e + 1),
                                      query_element(a, query1, e), query_element(a, query1, e + 1),
                                      query_element(a, query0, e + 2), query_element(a, query0, e + 3),
                                      query_element(a, query1, e + 2), query_element(a, query1, e + 3));
            }
        }
    }

    /// Unit u of the keys from position p on: of blocks of eight positions, the lane's.
    FUNCTION static RawKeys take_keys(ARGUMENTS(AttentionArguments) a, LOCAL(const Place) at, int kv_head,
                                      int u, int p, int end) {
        const int element = in_unit(at, u);
        const int64_t first = int64_t(p + at.row) * a.key_stride + kv_head * a.key_dim + element;
        RawKeys keys;
        UNROLLED for (int n = 0; n < kBlocks; ++n) {
            const bool is_there = p + 8 * n + at.row < end && element < a.key_dim;
            keys.of[n] = eight_at(a.keys, first + 8 * n * a.key_stride, is_there);
        }
        return keys;
    }
    FUNCTION static void score(Thread me, LOCAL(const Query) query, int u, LOCAL(const RawKeys) keys,
                               LOCAL(Scores) scores) {
        UNROLLED for (int n = 0; n < kBlocks; ++n) {
            const EightSums<kType> key = sums_of<kType>(keys.of[n]);
            UNROLLED for (int c = 0; c < Numbers<kType>::kOfCache; ++c) {
                UNROLLED for (int i = 0; i < Numbers<kType>::kOfQuery; ++i) {
                    if (!Numbers<kType>::matters(i, c)) continue;
                    add_numbers<kType>(me, query.of[2 * u].of[i], uint2{key.of[c].x, key.of[c].y},
                                       scores.of[n]);
                    add_numbers<kType>(me, query.of[2 * u + 1].of[i], uint2{key.of[c].z, key.of[c].w},
                                       scores.of[n]);
                }
            }
        }
    }

    /// The sums of the four warps' scores. The next tile's go to another place, so that one barrier does.
    FUNCTION static void add_up(Thread me, GROUP(float) shared, LOCAL(Scores) scores) {
        const int lane = int(me.lane()), warp = int(me.warp());
        UNROLLED for (int i = 0; i < kKeys / 2; ++i) shared[warp * Tile::kScores + 32 * i + lane] =
            scores.of[i / 4].of[i % 4];
        me.barrier();
        const int first = warp / kParts * kParts * Tile::kScores + lane;
        UNROLLED for (int i = 0; i < kKeys / 2; ++i) {
            float sum = 0.0f;
            UNROLLED for (int part = 0; part < kParts; ++part) sum +=
                shared[first + part * Tile::kScores + 32 * i];
            scores.of[i / 4].of[i % 4] = sum;
        }
    }

    /// A word of two positions' element j of eight.
    FUNCTION static uint32_t pair_of(uint4 even, uint4 odd, int j) {
        const uint32_t x = j < 2 ? even.x : j < 4 ? even.y : j < 6 ? even.z : even.w;
        const uint32_t y = j < 2 ? odd.x : j < 4 ? odd.y : j < 6 ? odd.z : odd.w;
        return j % 2 == 0 ? (x & 0xffffu) | y << 16 : x >> 16 | (y & 0xffff0000u);
    }
    /// Of 16 positions those that the lane has in a product.
    FUNCTION static RawValues take_values(ARGUMENTS(AttentionArguments) a, LOCAL(const Place) at, int kv_head,
                                          int s, int p, int end) {
        const int element = in_span(at, s);
        RawValues values;
        UNROLLED for (int i = 0; i < 4; ++i) {
            const int position = p + 2 * at.two + i / 2 * 8 + i % 2;
            const int64_t first = int64_t(position) * a.value_stride + kv_head * a.value_dim + element;
            values.of[i] = eight_at(a.values, first, position < end && element < a.value_dim);
        }
        return values;
    }
    FUNCTION static void add_values(Thread me, LOCAL(const SixteenOfQueries<kType>) weights, int s,
                                    LOCAL(const RawValues) raw, LOCAL(Answers) answers) {
        EightSums<kType> values[4];
        UNROLLED for (int i = 0; i < 4; ++i) values[i] = sums_of<kType>(raw.of[i]);
        UNROLLED for (int j = 0; j < 8; ++j) {
            UNROLLED for (int c = 0; c < Numbers<kType>::kOfCache; ++c) {
                const uint2 value = {pair_of(values[0].of[c], values[1].of[c], j),
                                     pair_of(values[2].of[c], values[3].of[c], j)};
                UNROLLED for (int i = 0; i < Numbers<kType>::kOfQuery; ++i) {
                    if (Numbers<kType>::matters(i, c))
                        add_numbers<kType>(me, weights.of[i], value, answers.of[s][j]);
                }
            }
        }
    }

    /// A query's answer: columns 2t and 2t + 1 of each product.
    FUNCTION static void write(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const Place) at,
                               LOCAL(const TileQuery) query, int second, LOCAL(const TileState) state,
                               LOCAL(const Answers) answers) {
        const TileAnswerPlace place = answer_place(a, me, query, state, at.part == 0 && at.two == 0);
        if (!query.is_there) return;
        UNROLLED for (int s = 0; s < kSpans; ++s) {
            for (int i = 0; i < 2; ++i) {
                const int element = 64 * (kParts * s + at.part) + 8 * (2 * at.two + i);
                if (element >= a.value_dim) continue;
                UNROLLED for (int j = 0; j < 8; ++j) place.y[element + j] =
                    answers.of[s][j].of[second + i] * place.factor;
            }
        }
    }

    /// Group (tile, key/value head, split); the last queries, which see most, come first.
    FUNCTION static void attend(ARGUMENTS(AttentionArguments) a, Thread me, GROUP(float) shared) {
        const int n_sharing = a.n_heads / a.n_kv_heads, kv_head = int(me.y);
        const int n_tiles = (a.n_tokens * n_sharing + kQueries - 1) / kQueries;
        const int first_query = (n_tiles - 1 - int(me.x)) * kQueries;
        const int warp = int(me.warp());
        const Place at = {warp % kParts, int(me.lane() / 4), int(me.lane() % 4)};
        const int mine = first_query + 16 * (warp / kParts) + at.row;
        const TileQuery query0 = query_of(a, kv_head, mine), query1 = query_of(a, kv_head, mine + 8);
        const PositionRange range = range_of_tile(a, me, first_query, kQueries);
        RawKeys keys = take_keys(a, at, kv_head, 0, range.begin, range.end);
        Query query;
        take_query(a, at, query0, query1, query);
        Answers answers;
        UNROLLED for (int i = 0; i < kSpans * 32; ++i) answers.of[i / 32][i / 4 % 8].of[i % 4] = 0.0f;
        TileState state0 = {-INFINITY, 0.0f, 0.0f}, state1 = state0;
        int scores_at = 0;

        for (int p = range.begin; p < range.end; p += kKeys) {
            Scores scores;
            UNROLLED for (int i = 0; i < kKeys / 2; ++i) scores.of[i / 4].of[i % 4] = 0.0f;
            UNROLLED for (int u = 0; u < kUnits; ++u) {
                const RawKeys now = keys;
                if (u + 1 < kUnits) keys = take_keys(a, at, kv_head, u + 1, p, range.end);
                if (in_unit(at, u) - 8 * at.two < a.key_dim) score(me, query, u, now, scores);
            }
            RawValues values = take_values(a, at, kv_head, 0, p, range.end);
            add_up(me, shared + scores_at, scores);
            scores_at = Tile::kAllScores - scores_at;
            keys = take_keys(a, at, kv_head, 0, p + kKeys, range.end);
            weigh_tile(a, me, query0, 0, p, range.end, scores, state0);
            weigh_tile(a, me, query1, 2, p, range.end, scores, state1);
            UNROLLED for (int i = 0; i < kSpans * 32; ++i) answers.of[i / 32][i / 4 % 8].of[i % 4] *=
                i % 4 < 2 ? state0.kept : state1.kept;
            UNROLLED for (int step = 0; step < kSteps; ++step) {
                const SixteenOfQueries<kType> weights = sixteen_weights<kType>(scores, step);
                UNROLLED for (int s = 0; s < kSpans; ++s) {
                    const RawValues now = values;
                    const int next = step * kSpans + s + 1;
                    if (next < kSteps * kSpans)
                        values =
                            take_values(a, at, kv_head, next % kSpans, p + 16 * (next / kSpans), range.end);
                    if (in_span(at, s) - 8 * at.row < a.value_dim) add_values(me, weights, s, now, answers);
                }
            }
        }
        write(a, me, at, query0, 0, state0, answers);
        write(a, me, at, query1, 2, state1, answers);
    }
};

#define PARTED_ATTENTION(type, dim, n_parts, n_units, n_spans)                                            \
    BOUNDED_GROUP_KERNEL(prompt_attention_##dim##_##type, AttentionArguments, PartedShared<kCache##type>, \
                         kPartedThreads, 1) {                                                             \
        if (Numbers<kCache##type>::are_there())                                                           \
            PartedHeads<kCache##type, n_parts, n_units, n_spans>::attend(a, me, shared.scores + 0);       \
    }
PARTED_ATTENTION(BF16, 256, 4, 2, 1)
PARTED_ATTENTION(F32, 256, 4, 2, 1)
PARTED_ATTENTION(F16, 640, 4, 5, 2)
PARTED_ATTENTION(F32, 640, 8, 3, 1)
PARTED_ATTENTION(BF16, 640, 4, 5, 2)
PARTED_ATTENTION(Q8_0, 640, 4, 5, 2)
#undef PARTED_ATTENTION

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

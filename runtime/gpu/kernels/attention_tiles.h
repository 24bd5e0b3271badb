#pragma once
// Attention of many tokens, as of a prompt (Dao 2023): a group has a tile of 64 queries, which are tokens by
// the heads that share a key/value head, and walks over tiles of keys and values in its memory. Queries,
// keys and weights meet as halves, sums are floats. A warp has 16 of the queries.
#include "arguments.h"
#include "attention.h"

namespace ingot {
namespace runtime {
namespace gpu {

/// Heads of up to kDim elements. Strides let eight rows' words, and four rows' values, lie in 32 banks.
template <int kDim>
struct PromptTile {
    enum : int {
        kKeys = 4096 / kDim,        // positions of a tile
        kKeyStride = kDim / 2 + 4,  // words from key to key
        kValueStride = kDim + 8,    // words from two positions' values to the next two's
        kSteps = kDim / 16,         // products of 16 elements
        kEights = kDim / 8,         // of a row
        kKeyWords = kKeys * kKeyStride,
        kValueWords = kKeys / 2 * kValueStride,
    };
};
template <int kDim>
struct PromptShared {
    GROUP_ARRAY(uint32_t, keys, PromptTile<kDim>::kKeyWords);  // (position, two elements)
    GROUP_ARRAY(uint32_t, values,
                PromptTile<kDim>::kValueWords);  // (two positions, element): a word has both's
};

FUNCTION float in_range_of_half(float x) {
    return min(max(x, -65504.0f), 65504.0f);
}

/// Eight elements of the cache as halves, of which n are there.
FUNCTION uint4 cached_halves(ARGUMENTS(AttentionArguments) a, GLOBAL(const uint8_t) cache, int64_t i, int n) {
    uint4 halves = {0, 0, 0, 0};
    if (n <= 0) return halves;
    if (a.is_wide != 0 && a.cache_type == kCacheF16) return load<uint4>(cache + 2 * i);
    Eight eight;
    if (a.is_wide != 0) {
        const RawEight<kCacheQ8_0> raw = raw_eight<kCacheQ8_0>(cache, i);
        eight = eight_of<kCacheQ8_0>(raw);
    } else {
        for (int j = 0; j < 8; ++j) {
            if (j >= n) {
                eight.x[j] = 0.0f;
            } else {
                eight.x[j] = a.cache_type == kCacheF16 ? cached<kCacheF16>(cache, i + j)
                                                       : cached<kCacheQ8_0>(cache, i + j);
            }
        }
    }
    if (a.cache_type == kCacheQ8_0) {
        for (int j = 0; j < 8; ++j) eight.x[j] = in_range_of_half(eight.x[j]);
    }
    halves.x = halves_of(eight.x[0], eight.x[1]);
    halves.y = halves_of(eight.x[2], eight.x[3]);
    halves.z = halves_of(eight.x[4], eight.x[5]);
    halves.w = halves_of(eight.x[6], eight.x[7]);
    return halves;
}

/// Keys and values of positions p … into the group's memory; from `end` on there are zeros.
template <int kDim>
FUNCTION void take_keys_and_values(ARGUMENTS(AttentionArguments) a, Thread me, int kv_head, int p, int end,
                                   GROUP(uint32_t) keys, GROUP(uint32_t) values) {
    using Tile = PromptTile<kDim>;
    for (int i = int(me.index); i < Tile::kKeys * Tile::kEights; i += int(me.n_threads)) {
        const int row = i / Tile::kEights, element = 8 * (i % Tile::kEights);
        const int64_t at = int64_t(p + row) * a.key_stride + kv_head * a.key_dim + element;
        store_four(keys + (row * Tile::kKeyStride + element / 2),
                   cached_halves(a, a.keys, at, p + row < end ? a.key_dim - element : 0));
    }
    for (int i = int(me.index); i < Tile::kKeys / 2 * Tile::kEights; i += int(me.n_threads)) {
        const int two = i / Tile::kEights, element = 8 * (i % Tile::kEights);
        const int n = a.value_dim - element, first = p + 2 * two;
        const int64_t at = int64_t(first) * a.value_stride + kv_head * a.value_dim + element;
        const uint4 x = cached_halves(a, a.values, at, first < end ? n : 0);
        const uint4 y = cached_halves(a, a.values, at + a.value_stride, first + 1 < end ? n : 0);
        const uint4 begin = {(x.x & 0xffffu) | y.x << 16, x.x >> 16 | (y.x & 0xffff0000u),
                             (x.y & 0xffffu) | y.y << 16, x.y >> 16 | (y.y & 0xffff0000u)};
        const uint4 rest = {(x.z & 0xffffu) | y.z << 16, x.z >> 16 | (y.z & 0xffff0000u),
                            (x.w & 0xffffu) | y.w << 16, x.w >> 16 | (y.w & 0xffff0000u)};
        store_four(values + (two * Tile::kValueStride + element), begin);
        store_four(values + (two * Tile::kValueStride + element + 4), rest);
    }
}

/// One of the two rows of the tile that a lane has a part of.
struct TileQuery {
    int64_t row;  // (token, head) of q and y
    int head;
    int position;   // of the token
    int first;      // position that it sees
    bool is_there;  // else the tile ends before it
};
FUNCTION TileQuery query_of(ARGUMENTS(AttentionArguments) a, int kv_head, int number) {
    const int n_sharing = a.n_heads / a.n_kv_heads, n = a.n_tokens * n_sharing;
    const int there = min(number, n - 1), token = there / n_sharing;
    TileQuery query;
    query.head = kv_head * n_sharing + there % n_sharing;
    query.row = int64_t(token) * a.n_heads + query.head;
    query.position = a.positions[token];
    query.first = first_seen(a, query.position);
    query.is_there = number < n;
    return query;
}

/// Two neighbouring elements of a query, scaled, as halves.
FUNCTION uint32_t query_halves(ARGUMENTS(AttentionArguments) a, LOCAL(const TileQuery) query, int element) {
    GLOBAL(const float) q = a.q + query.row * a.key_dim;
    const float low = element < a.key_dim ? a.scale * q[element] : 0.0f;
    const float high = element + 1 < a.key_dim ? a.scale * q[element + 1] : 0.0f;
    return halves_of(in_range_of_half(low), in_range_of_half(high));
}

/// The scores of a tile, then the weights: rows of queries l / 4 and 8 + l / 4 by positions, as the dialect
/// gives products.
template <int kDim>
struct TileScores {
    ProductSums of[PromptTile<kDim>::kKeys / 8];
};

/// Rows of queries by elements of the values, likewise.
template <int kDim>
struct TileAnswers {
    ProductSums of[kDim / 8];
};

/// Where one of the lane's two queries stands.
struct TileState {
    float largest, sum;  // of the scores; the lane's part of Σ exp(score - largest)
    float kept;          // of what was before this tile
};

/// Scores become weights, for the tile from position p on.
template <int kDim>
FUNCTION void weigh_tile(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const TileQuery) query, int second,
                         int p, int end, LOCAL(TileScores<kDim>) scores, LOCAL(TileState) state) {
    const int n_keys = PromptTile<kDim>::kKeys;
    // Positions that the query sees, from the lane's first on.
    const int begin = query.first - p, behind = min(query.position + 1, end) - p;
    const bool is_plain = a.soft_cap <= 0.0f && !a.slopes && begin <= 0 && behind >= n_keys;
    float largest = state.largest;
    for (int i = 0; i < n_keys / 4; ++i) {
        LOCAL(float) score = scores.of[i / 2].of[second + i % 2];
        if (!is_plain) {
            const int column = i / 2 * 8 + 2 * int(me.lane() % 4) + i % 2;
            const float final = final_score(a, score, query.head, query.position - p - column);
            score = column >= begin && column < behind ? final : -INFINITY;
        }
        largest = fmax(largest, score);
    }
    largest = fmax(largest, me.shuffle_xor(largest, 1));
    largest = fmax(largest, me.shuffle_xor(largest, 2));
    const float base = largest == -INFINITY ? 0.0f : largest;  // nothing was seen yet
    state.kept = exp(state.largest - base);
    state.largest = largest;
    float sum = 0.0f;
    for (int i = 0; i < n_keys / 4; ++i) {
        LOCAL(float) score = scores.of[i / 2].of[second + i % 2];
        score = exp(score - base);
        sum += score;
    }
    state.sum = state.sum * state.kept + sum;
}

/// A query's answer, of which the lane has elements 8n + 2t and 8n + 2t + 1.
template <int kDim>
FUNCTION void write_tile_answer(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const TileQuery) query,
                                int second, LOCAL(const TileState) state,
                                LOCAL(const TileAnswers<kDim>) answers) {
    float sum = state.sum + me.shuffle_xor(state.sum, 1);
    sum += me.shuffle_xor(sum, 2);
    if (!query.is_there) return;
    const int first = 2 * int(me.lane() % 4);
    GLOBAL(float) y = a.y + query.row * a.value_dim;
    float factor = 1.0f;
    if (a.n_splits > 1) {
        GLOBAL(float) partial = a.partial + (query.row * a.n_splits + me.z) * (2 + a.value_dim);
        if (first == 0) {
            partial[0] = state.largest;
            partial[1] = sum;
        }
        y = partial + 2;
    } else {
        const float sink = a.sinks ? float(a.sinks[query.head]) : -INFINITY;
        const float largest = fmax(state.largest, sink);
        const float kept = exp(state.largest - largest);
        factor = kept / (sum * kept + exp(sink - largest));
    }
    for (int n = 0; n < kDim / 8; ++n) {
        for (int i = 0; i < 2; ++i) {
            if (8 * n + first + i < a.value_dim) y[8 * n + first + i] = answers.of[n].of[second + i] * factor;
        }
    }
}

/// Group (tile, key/value head, split); the last queries, which see most, come first.
template <int kDim>
FUNCTION void attend_tile(ARGUMENTS(AttentionArguments) a, Thread me, GROUP(uint32_t) keys,
                          GROUP(uint32_t) values) {
    using Tile = PromptTile<kDim>;
    const int n_sharing = a.n_heads / a.n_kv_heads, kv_head = int(me.y);
    const int n_tiles = (a.n_tokens * n_sharing + kTileQueries - 1) / kTileQueries;
    const int first_query = (n_tiles - 1 - int(me.x)) * kTileQueries;
    const int lane_row = int(me.lane() / 4), two = int(me.lane() % 4);
    const int mine = first_query + 16 * int(me.warp()) + lane_row;
    const TileQuery query0 = query_of(a, kv_head, mine), query1 = query_of(a, kv_head, mine + 8);

    uint4 q[Tile::kSteps];
    for (int s = 0; s < Tile::kSteps; ++s) {
        const int element = 16 * s + 2 * two;
        q[s].x = query_halves(a, query0, element);
        q[s].y = query_halves(a, query1, element);
        q[s].z = query_halves(a, query0, element + 8);
        q[s].w = query_halves(a, query1, element + 8);
    }
    TileAnswers<kDim> answers;
    for (int n = 0; n < kDim / 8; ++n) {
        for (int i = 0; i < 4; ++i) answers.of[n].of[i] = 0.0f;
    }
    TileState state0 = {-INFINITY, 0.0f, 0.0f}, state1 = state0;

    // What the tile's first query sees first, and its last one last.
    const int last_query = min(first_query + kTileQueries, a.n_tokens * n_sharing) - 1;
    const int seen = first_seen(a, a.positions[first_query / n_sharing]);
    const PositionRange range = range_of_split(a, int(me.z), seen, a.positions[last_query / n_sharing]);
    for (int p = range.begin; p < range.end; p += Tile::kKeys) {
        me.barrier();  // the tile before has been read
        take_keys_and_values<kDim>(a, me, kv_head, p, range.end, keys, values);
        me.barrier();
        TileScores<kDim> scores;
        for (int n = 0; n < Tile::kKeys / 8; ++n) {
            for (int i = 0; i < 4; ++i) scores.of[n].of[i] = 0.0f;
        }
        for (int s = 0; s < Tile::kSteps; ++s) {
            if (16 * s >= a.key_dim) continue;
            for (int n = 0; n < Tile::kKeys / 8; ++n) {
                const int word = (8 * n + lane_row) * Tile::kKeyStride + 8 * s + two;
                const uint2 key = {keys[word], keys[word + 4]};
                me.add_product_f16(q[s], key, scores.of[n]);
            }
        }
        weigh_tile<kDim>(a, me, query0, 0, p, range.end, scores, state0);
        weigh_tile<kDim>(a, me, query1, 2, p, range.end, scores, state1);
        for (int n = 0; n < kDim / 8; ++n) {
            for (int i = 0; i < 4; ++i) answers.of[n].of[i] *= i < 2 ? state0.kept : state1.kept;
        }
        for (int s = 0; s < Tile::kKeys / 16; ++s) {
            const ProductSums left = scores.of[2 * s], right = scores.of[2 * s + 1];
            const uint4 weights = {halves_of(left.of[0], left.of[1]), halves_of(left.of[2], left.of[3]),
                                   halves_of(right.of[0], right.of[1]), halves_of(right.of[2], right.of[3])};
            for (int n = 0; n < kDim / 8; ++n) {
                if (8 * n >= a.value_dim) continue;
                const int word = (8 * s + two) * Tile::kValueStride + 8 * n + lane_row;
                const uint2 value = {values[word], values[word + 4 * Tile::kValueStride]};
                me.add_product_f16(weights, value, answers.of[n]);
            }
        }
    }
    write_tile_answer<kDim>(a, me, query0, 0, state0, answers);
    write_tile_answer<kDim>(a, me, query1, 2, state1, answers);
}

#define PROMPT_ATTENTION(dim)                                                     \
    GROUP_KERNEL(prompt_attention_##dim, AttentionArguments, PromptShared<dim>) { \
        attend_tile<dim>(a, me, shared.keys + 0, shared.values + 0);              \
    }
PROMPT_ATTENTION(64)
PROMPT_ATTENTION(128)
PROMPT_ATTENTION(256)
#undef PROMPT_ATTENTION

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

#pragma once
// Attention in one pass over the positions (Dao et al. 2022; split over the context as in Dao et al. 2023). A
// group answers for up to kHeads query heads that share a key/value head, so that keys and values are read
// once for all of them: 8 neighbouring elements a lane, as many lanes to a row as it takes, several rows on
// their way at once. Sums are floats. Many tokens: attention_tiles.h, attention_parts.h.
#include "arguments.h"
#include "quantize.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int {
    kRowsAtOnce = 4,  // that a lane reads of the cache
    kAttentionFloats = kAttentionWarps * kMostHeads,
    kPartFloats = kAttentionWarps * kValuesOfPart,
};

struct AttentionShared {
    GROUP_ARRAY(float, query, kQueryElements);      // (head, 8, eights): neighbours of an eight lie apart
    GROUP_ARRAY(float, largest, kAttentionFloats);  // (warp, head)
    GROUP_ARRAY(float, sums, kAttentionFloats);     // likewise
    GROUP_ARRAY(float, values, kPartFloats);        // (warp, element), of one head
};
struct AttentionMemory {
    GROUP(float) query;
    GROUP(float) largest;
    GROUP(float) sums;
    GROUP(float) values;
};

// ── What the cache holds; a type is a CacheType by number ───────────────────────────────────────────────

enum : int { kCacheF16 = 0, kCacheF32 = 1, kCacheBF16 = 2, kCacheQ8_0 = 3 };

template <int kType>
FUNCTION float cached(GLOBAL(const uint8_t) cache, int64_t i) {
    if (kType == kCacheF16) return half_to_float(load<uint16_t>(cache + 2 * i));
    if (kType == kCacheF32) return load<float>(cache + 4 * i);
    if (kType == kCacheBF16) return float_of(uint32_t(load<uint16_t>(cache + 2 * i)) << 16);
    GLOBAL(const uint8_t) block = cache + i / 32 * 34;
    return half_to_float(load<uint16_t>(block)) * float(int8_t(uint8_t(block[2 + i % 32])));
}

/// Eight elements as they lie there; of Q8_0 the quants, then the scale.
template <int kType>
struct RawEight {
    uint32_t words[kType == kCacheF32 ? 8 : 4];
};

/// Where element i of a cache begins, or, of Q8_0, its block of 32.
template <int kType>
FUNCTION int64_t byte_of(int64_t i) {
    return kType == kCacheQ8_0 ? i / 32 * 34 : i * (kType == kCacheF32 ? 4 : 2);
}
/// Eight elements from these bytes on; of Q8_0 those from element `in_block` of the block on.
template <int kType>
FUNCTION RawEight<kType> raw_eight_at(GLOBAL(const uint8_t) bytes, int in_block) {
    RawEight<kType> raw;
    if (kType == kCacheQ8_0) {
        for (int w = 0; w < 2; ++w) {
            GLOBAL(const uint8_t) quants = bytes + (2 + in_block + 4 * w);
            raw.words[w] = load<uint16_t>(quants) | uint32_t(load<uint16_t>(quants + 2)) << 16;
        }
        raw.words[2] = load<uint16_t>(bytes);
    } else {
        for (int w = 0; w < (kType == kCacheF32 ? 8 : 4); w += 4) {
            const uint4 four = load<uint4>(bytes + 4 * w);
            raw.words[w] = four.x;
            raw.words[w + 1] = four.y;
            raw.words[w + 2] = four.z;
            raw.words[w + 3] = four.w;
        }
    }
    return raw;
}
/// i is a multiple of 8.
template <int kType>
FUNCTION RawEight<kType> raw_eight(GLOBAL(const uint8_t) cache, int64_t i) {
    return raw_eight_at<kType>(cache + byte_of<kType>(i), int(i % 32));
}

template <int kType>
FUNCTION Eight eight_of(LOCAL(const RawEight<kType>) raw) {
    Eight eight;
    const float scale = kType == kCacheQ8_0 ? half_to_float(uint16_t(raw.words[2])) : 1.0f;
    for (int j = 0; j < 8; ++j) {
        if (kType == kCacheF32) {
            eight.x[j] = float_of(raw.words[j]);
        } else if (kType == kCacheQ8_0) {
            eight.x[j] = scale * float(int8_t(raw.words[j / 4] >> (8 * (j % 4))));
        } else if (kType == kCacheF16) {
            eight.x[j] = half_to_float(uint16_t(raw.words[j / 2] >> (16 * (j % 2))));
        } else {
            eight.x[j] = float_of(j % 2 == 0 ? raw.words[j / 2] << 16 : raw.words[j / 2] & 0xffff0000u);
        }
    }
    return eight;
}

/// Elements of kRowsAtOnce rows: the first at element `first` of the cache, the next ones `step` further on.
/// What is behind the n_rows or behind the row's end, which is n elements on, is zero.
struct CachedRows {
    Eight of[kRowsAtOnce];
};
template <int kType>
FUNCTION CachedRows cached_rows(GLOBAL(const uint8_t) cache, int64_t first, int64_t step, int n_rows, int n,
                                bool is_wide) {
    CachedRows rows;
    if (kType == kCacheQ8_0 || is_wide) {  // all are asked for before the first is looked at
        RawEight<kType> raw[kRowsAtOnce];
        GLOBAL(const uint8_t) bytes = cache + byte_of<kType>(first);
        for (int u = 0; u < kRowsAtOnce; ++u) {
            for (int w = 0; w < (kType == kCacheF32 ? 8 : 4); ++w) raw[u].words[w] = 0;
            if (u < n_rows && n > 0)
                raw[u] = raw_eight_at<kType>(bytes + u * byte_of<kType>(step), int(first % 32));
        }
        for (int u = 0; u < kRowsAtOnce; ++u) rows.of[u] = eight_of<kType>(raw[u]);
    } else {
        for (int u = 0; u < kRowsAtOnce; ++u) {
            for (int j = 0; j < 8; ++j)
                rows.of[u].x[j] = u < n_rows && j < n ? cached<kType>(cache, first + u * step + j) : 0.0f;
        }
    }
    return rows;
}

// ── Which positions, and what a score becomes ───────────────────────────────────────────────────────────

/// The first position that a token sees.
FUNCTION int first_seen(ARGUMENTS(AttentionArguments) a, int position) {
    if (a.window == 0) return 0;
    if (a.chunked != 0) return position / a.window * a.window;
    return max(0, position + 1 - a.window);
}

/// Positions first … last as parts, of which a group has one.
struct PositionRange {
    int begin, end;
};
FUNCTION PositionRange range_of_split(ARGUMENTS(AttentionArguments) a, int split, int first, int last) {
    const int part = (last + 1 - first + a.n_splits - 1) / a.n_splits;
    const int begin = first + split * part;
    return {begin, min(last + 1, begin + part)};
}

/// Of q · k * scale.
FUNCTION float final_score(ARGUMENTS(AttentionArguments) a, float score, int head, int distance) {
    if (a.soft_cap > 0.0f) score = a.soft_cap * tanh(score * a.one_by_soft_cap);
    if (a.slopes) score -= a.slopes[head] * float(distance);
    return score;
}

// ── One token ───────────────────────────────────────────────────────────────────────────────────────────

/// What a warp found for each head: the largest score, the lane's part of the sum of exp(score - largest),
/// and its eight elements of the sum of the values with these weights. And the score of the lane's row, then
/// its weight.
template <int kHeads>
struct Answers {
    float largest[kHeads], sums[kHeads];
    Eight values[kHeads];
    float scores[kHeads];
};

/// Where a lane stands: n_lanes read a row of the cache, eight elements each, and a warp so reads n_rows of
/// them with one load, kRowsAtOnce * n_rows with all on their way.
struct Stand {
    int n_lanes;  // a power of two, 4 to 32
    int row;      // of those of a load
    int eight;    // of the row
    int n_rows;   // of a load
    int mine;     // of all those rows, the one whose scores the lane has
};
FUNCTION Stand stand_of(Thread me, int key_dim, int value_dim) {
    const int n_eights = (max(key_dim, min(value_dim, int(kValuesOfPart))) + 7) / 8;
    Stand at;
    at.n_lanes = 4;
    while (at.n_lanes < 32 && at.n_lanes < n_eights) at.n_lanes *= 2;
    const int lane = int(me.lane());
    at.n_rows = 32 / at.n_lanes;
    at.row = lane / at.n_lanes;
    at.eight = lane % at.n_lanes;
    at.mine = at.eight * kRowsAtOnce / at.n_lanes * at.n_rows + at.row;
    return at;
}

/// Scores of the warp's rows p, p + 1 … as far as `end`: each lane gets those of row `mine`.
template <int kType, int kHeads>
FUNCTION void score_rows(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const Stand) at, int kv_head,
                         int p, int end, GROUP(float) query, LOCAL(Answers<kHeads>) answers) {
    const int n_eights = (a.key_dim + 7) / 8;
    const int n_mine =
        max(0, end - p - at.row + at.n_rows - 1) / at.n_rows;  // of the lane's, those before end
    float dots[kRowsAtOnce][kHeads];
    for (int h = 0; h < kHeads; ++h) {
        for (int u = 0; u < kRowsAtOnce; ++u) dots[u][h] = 0.0f;
    }
    for (int eight = at.eight; eight < n_eights; eight += at.n_lanes) {
        const int64_t first = int64_t(p + at.row) * a.key_stride + kv_head * a.key_dim + 8 * eight;
        const CachedRows keys = cached_rows<kType>(a.keys, first, at.n_rows * a.key_stride, n_mine,
                                                   a.key_dim - 8 * eight, a.is_wide != 0);
        for (int h = 0; h < kHeads; ++h) {
            for (int j = 0; j < 8; ++j) {
                const float q = query[(8 * h + j) * n_eights + eight];
                for (int u = 0; u < kRowsAtOnce; ++u) dots[u][h] = fma(q, keys.of[u].x[j], dots[u][h]);
            }
        }
    }
    // A row's lanes add up: in two steps each gives half of its rows away, then all have one left.
    const uint32_t half = uint32_t(at.n_lanes) / 2, quarter = half / 2;
    const bool upper = (me.lane() & half) != 0, odd = (me.lane() & quarter) != 0;
    for (int h = 0; h < kHeads; ++h) {
        float two[2];
        for (int u = 0; u < 2; ++u) {
            const float given = upper ? dots[u][h] : dots[u + 2][h];
            two[u] = (upper ? dots[u + 2][h] : dots[u][h]) + me.shuffle_xor(given, half);
        }
        float sum = (odd ? two[1] : two[0]) + me.shuffle_xor(odd ? two[0] : two[1], quarter);
        for (uint32_t mask = quarter / 2; mask > 0; mask /= 2) sum += me.shuffle_xor(sum, mask);
        answers.scores[h] = sum;
    }
}

/// Scores become weights, and what was found before is scaled by what remains of it.
template <int kHeads>
FUNCTION void weigh(ARGUMENTS(AttentionArguments) a, Thread me, bool is_there, int head, int distance,
                    LOCAL(Answers<kHeads>) answers) {
    for (int h = 0; h < kHeads; ++h) {
        const int of_head = min(head + h, a.n_heads - 1);
        const float score =
            is_there ? final_score(a, answers.scores[h] * a.scale, of_head, distance) : -INFINITY;
        const float largest = fmax(answers.largest[h], me.lane_max(score));
        const float kept = exp(answers.largest[h] - largest);  // 0 at first
        answers.largest[h] = largest;
        answers.scores[h] = exp(score - largest);
        answers.sums[h] = answers.sums[h] * kept + answers.scores[h];
        for (int j = 0; j < 8; ++j) answers.values[h].x[j] *= kept;
    }
}

/// Adds the rows' values with these weights.
template <int kType, int kHeads>
FUNCTION void add_values(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const Stand) at, int kv_head,
                         int part, int p, int end, LOCAL(Answers<kHeads>) answers) {
    const int n_mine = max(0, end - p - at.row + at.n_rows - 1) / at.n_rows;
    const int element = kValuesOfPart * part + 8 * at.eight;
    const int64_t first = int64_t(p + at.row) * a.value_stride + kv_head * a.value_dim + element;
    const CachedRows values = cached_rows<kType>(a.values, first, at.n_rows * a.value_stride, n_mine,
                                                 a.value_dim - element, a.is_wide != 0);
    for (int h = 0; h < kHeads; ++h) {
        for (int u = 0; u < kRowsAtOnce; ++u) {
            const int lane_with_it = at.row * at.n_lanes + u * (at.n_lanes / kRowsAtOnce);
            const float weight = me.shuffle(answers.scores[h], uint32_t(lane_with_it));
            for (int j = 0; j < 8; ++j)
                answers.values[h].x[j] = fma(weight, values.of[u].x[j], answers.values[h].x[j]);
        }
    }
}

/// The answer for a head from all warps' parts: written to y, or, one of several splits', to partial.
FUNCTION void write_answer(ARGUMENTS(AttentionArguments) a, Thread me, int head, int h, int part,
                           LOCAL(const AttentionMemory) shared) {
    const bool whole = a.n_splits == 1;
    float largest = whole && a.sinks ? float(a.sinks[head]) : -INFINITY;
    for (int w = 0; w < kAttentionWarps; ++w) largest = fmax(largest, shared.largest[w * kMostHeads + h]);
    float sum = whole && a.sinks ? exp(a.sinks[head] - largest) : 0.0f;
    float factors[kAttentionWarps];  // a warp without positions has none
    for (int w = 0; w < kAttentionWarps; ++w) {
        const float of_warp = shared.sums[w * kMostHeads + h];
        factors[w] = of_warp > 0.0f ? exp(shared.largest[w * kMostHeads + h] - largest) : 0.0f;
        sum += of_warp * factors[w];
    }
    const int64_t row = int64_t(me.y) * a.n_heads + head;
    const int64_t partial = (row * a.n_splits + me.z) * (2 + a.value_dim);
    if (!whole && part == 0 && me.index == 0) {
        a.partial[partial] = largest;
        a.partial[partial + 1] = sum;
    }
    const int first = kValuesOfPart * part, n = min(int(kValuesOfPart), a.value_dim - first);
    for (int i = int(me.index); i < n; i += int(me.n_threads)) {
        float value = 0.0f;
        for (int w = 0; w < kAttentionWarps; ++w)
            value = fma(float(shared.values[w * kValuesOfPart + i]), factors[w], value);
        if (whole) {
            a.y[row * a.value_dim + first + i] = value / sum;
        } else {
            a.partial[partial + 2 + first + i] = value;
        }
    }
}

/// What a group has of its token's answer, elements first … end, in 8 bits.
FUNCTION void quantize_answer(Thread me, ARGUMENTS(QuantizedRows) to, GLOBAL(const float) y, int64_t row,
                              int first, int end) {
    me.barrier();  // others wrote it
    for (int i = first + 256 * int(me.warp()); i < end; i += 256 * int(me.n_warps()))
        quantize_part(me, to, take_eight(me, y + row, i, end, 0), row, i, end);
}

/// Group (x, token, split); x counts parts of values, kHeads query heads at a time, and key/value heads.
template <int kType, int kHeads>
FUNCTION void attend(ARGUMENTS(AttentionArguments) a, Thread me, LOCAL(const AttentionMemory) shared) {
    const int n_sharing = a.n_heads / a.n_kv_heads;
    const int n_parts = (a.value_dim + kValuesOfPart - 1) / kValuesOfPart;
    const int n_groups = (n_sharing + kHeads - 1) / kHeads;  // of heads that share a key/value head
    const int part = int(me.x) % n_parts, first_shared = int(me.x) / n_parts % n_groups * kHeads;
    const int kv_head = int(me.x) / n_parts / n_groups;
    const int head = kv_head * n_sharing + first_shared;
    const int n_heads = min(kHeads, n_sharing - first_shared);

    const int n_eights = (a.key_dim + 7) / 8;
    for (int i = int(me.index); i < kHeads * 8 * n_eights; i += int(me.n_threads)) {
        const int h = i / (8 * n_eights), element = i % (8 * n_eights);
        const bool is_there = h < n_heads && element < a.key_dim;
        const int64_t row = int64_t(me.y) * a.n_heads + head + h;
        shared.query[(8 * h + element % 8) * n_eights + element / 8] =
            is_there ? float(a.q[row * a.key_dim + element]) : 0.0f;
    }
    Answers<kHeads> answers;
    for (int h = 0; h < kHeads; ++h) {
        answers.largest[h] = -INFINITY;
        answers.sums[h] = 0.0f;
        for (int j = 0; j < 8; ++j) answers.values[h].x[j] = 0.0f;
    }
    me.barrier();

    const int position = a.positions[me.y];
    const PositionRange range = range_of_split(a, int(me.z), first_seen(a, position), position);
    const Stand at = stand_of(me, a.key_dim, a.value_dim);
    const int n_of_warp = kRowsAtOnce * at.n_rows;
    for (int p = range.begin + n_of_warp * int(me.warp()); p < range.end; p += n_of_warp * kAttentionWarps) {
        score_rows<kType>(a, me, at, kv_head, p, range.end, shared.query, answers);
        weigh(a, me, p + at.mine < range.end, head, position - p - at.mine, answers);
        add_values<kType>(a, me, at, kv_head, part, p, range.end, answers);
    }

    // The rows of a load become one, then the warps'. A row's sum is counted by each lane that has it.
    const int warp = int(me.warp());
    UNROLLED for (int h = 0; h < kHeads; ++h) {
        const float sum = me.lane_sum(answers.sums[h]) * (float(kRowsAtOnce) / float(at.n_lanes));
        for (uint32_t mask = uint32_t(at.n_lanes); mask < 32; mask *= 2) {
            for (int j = 0; j < 8; ++j)
                answers.values[h].x[j] += me.shuffle_xor(answers.values[h].x[j], mask);
        }
        if (me.lane() == 0) {
            shared.largest[warp * kMostHeads + h] = answers.largest[h];
            shared.sums[warp * kMostHeads + h] = sum;
        }
    }
    UNROLLED for (int h = 0; h < kHeads; ++h) {
        if (h >= n_heads) continue;
        me.barrier();  // the head before has been read
        UNROLLED for (int j = 0; j < 8; ++j) {
            if (at.row != 0) continue;
            shared.values[warp * kValuesOfPart + 8 * at.eight + j] = answers.values[h].x[j];
        }
        me.barrier();
        write_answer(a, me, head + h, h, part, shared);
    }
    if (!a.to.quants) return;
    quantize_answer(me, a.to, a.y, int64_t(me.y) * a.n_heads * a.value_dim, head * a.value_dim,
                    (head + n_heads) * a.value_dim);
}

#define ATTENTION(type, n_heads, n_groups)                                                         \
    BOUNDED_GROUP_KERNEL(attention_##n_heads##_##type, AttentionArguments, AttentionShared,        \
                         kAttentionWarps * 32, n_groups) {                                         \
        const AttentionMemory memory = {shared.query, shared.largest, shared.sums, shared.values}; \
        attend<kCache##type, n_heads>(a, me, memory);                                              \
    }
#define ATTENTION_OF(type) ATTENTION(type, 1, 5) ATTENTION(type, 4, 4) ATTENTION(type, 8, 2)
INGOT_CACHE_TYPES(ATTENTION_OF)
#undef ATTENTION_OF
#undef ATTENTION

/// The answers of the splits become one: group (heads, token).
KERNEL(merge_attention, MergeAttentionArguments) {
    const int64_t stride = 2 + a.value_dim;
    const int64_t row = int64_t(me.y) * a.n_heads * a.value_dim;
    const int first = int(me.x) * a.n_heads_of_group * a.value_dim;
    const int end = first + a.n_heads_of_group * a.value_dim;
    for (int i = first + int(me.index); i < end; i += int(me.n_threads)) {
        const int head = i / a.value_dim;
        GLOBAL(const float) parts = a.partial + (int64_t(me.y) * a.n_heads + head) * a.n_splits * stride;
        float largest = a.sinks ? float(a.sinks[head]) : -INFINITY;
        for (int s = 0; s < a.n_splits; ++s) largest = fmax(largest, float(parts[s * stride]));
        float sum = a.sinks ? exp(a.sinks[head] - largest) : 0.0f;
        float value = 0.0f;
        for (int s = 0; s < a.n_splits; ++s) {
            if (!(parts[s * stride + 1] > 0.0f)) continue;
            const float kept = exp(parts[s * stride] - largest);
            sum += parts[s * stride + 1] * kept;
            value = fma(float(parts[s * stride + 2 + i - head * a.value_dim]), kept, value);
        }
        a.y[row + i] = value / sum;
    }
    if (a.to.quants) quantize_answer(me, a.to, a.y, row, first, end);
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

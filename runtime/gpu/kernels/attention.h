#pragma once
// Attention in one pass over the positions (Dao et al. 2022; split over the context as in Dao et al. 2023): a
// warp takes 32 positions at a time, one a lane for the scores, and then its lanes take the elements of the
// values.
#include "arguments.h"

namespace ingot {
namespace runtime {
namespace gpu {

enum : int { kValuesOfLane = kMaxValueDim / 32 };

/// The largest score so far, the sum of exp(score - largest), and the sum of the values with these weights,
/// of which lane l has elements l, l + 32 …
struct Answer {
    float largest, sum;
    float values[kValuesOfLane];
};

struct AttentionShared {
    GROUP_ARRAY(float, query, kMaxKeyDim);
    GROUP_ARRAY(float, largest, kAttentionWarps);
    GROUP_ARRAY(float, sums, kAttentionWarps);
    GROUP_ARRAY(float, values, kAttentionWarps* kMaxValueDim);
};

FUNCTION float cache_at(ARGUMENTS(AttentionArguments) a, GLOBAL(const uint8_t) cache, int64_t i) {
    if (a.cache_type == 0) return half_to_float(load<uint16_t>(cache + 2 * i));
    if (a.cache_type == 1) return load<float>(cache + 4 * i);
    if (a.cache_type == 2) return float_of(uint32_t(load<uint16_t>(cache + 2 * i)) << 16);
    GLOBAL(const uint8_t) block = cache + i / 32 * 34;  // Q8_0
    return half_to_float(load<uint16_t>(block)) * float(int8_t(uint8_t(block[2 + i % 32])));
}

/// The first position that a token sees.
FUNCTION int first_seen(ARGUMENTS(AttentionArguments) a, int position) {
    if (a.window == 0) return 0;
    if (a.chunked != 0) return position / a.window * a.window;
    return max(0, position + 1 - a.window);
}

FUNCTION float score_of(ARGUMENTS(AttentionArguments) a, GROUP(float) query, int head, int position,
                        int distance) {
    const int64_t key = int64_t(position) * a.key_stride + head / (a.n_heads / a.n_kv_heads) * a.key_dim;
    float dot = 0.0f;
    for (int i = 0; i < a.key_dim; ++i) dot = fma(float(query[i]), cache_at(a, a.keys, key + i), dot);
    float score = dot * a.scale;
    if (a.soft_cap > 0.0f) score = a.soft_cap * tanh(score / a.soft_cap);
    if (a.slopes) score -= a.slopes[head] * float(distance);
    return score;
}

/// Positions begin … end - 1, of which a warp takes every n_warps-th 32.
FUNCTION Answer answer_of(ARGUMENTS(AttentionArguments) a, Thread me, GROUP(float) query, int head,
                          int position, int begin, int end) {
    Answer answer;
    answer.largest = -INFINITY;
    answer.sum = 0.0f;
    for (int i = 0; i < kValuesOfLane; ++i) answer.values[i] = 0.0f;
    const int value_head = head / (a.n_heads / a.n_kv_heads) * a.value_dim;
    for (int p = begin + 32 * int(me.warp()); p < end; p += 32 * int(me.n_warps())) {
        const int mine = p + int(me.lane());
        const float score = mine < end ? score_of(a, query, head, mine, position - mine) : -INFINITY;
        const float largest = fmax(answer.largest, me.lane_max(score));
        const float kept = exp(answer.largest - largest);  // of what was before; 0 at first
        const float weight = exp(score - largest);
        answer.largest = largest;
        answer.sum = answer.sum * kept + me.lane_sum(weight);
        for (int i = 0; 32 * i < a.value_dim; ++i) answer.values[i] *= kept;
        for (int j = 0; j < 32 && p + j < end; ++j) {
            const float share = me.shuffle(weight, uint32_t(j));
            const int64_t row = int64_t(p + j) * a.value_stride + value_head;
            for (int i = 0; 32 * i < a.value_dim; ++i) {
                const int column = 32 * i + int(me.lane());
                if (column < a.value_dim)
                    answer.values[i] = fma(share, cache_at(a, a.values, row + column), answer.values[i]);
            }
        }
    }
    return answer;
}

GROUP_KERNEL(attention, AttentionArguments, AttentionShared) {
    const int head = int(me.x), token = int(me.y), split = int(me.z);
    const int64_t row = int64_t(token) * a.n_heads + head;
    for (int i = int(me.index); i < a.key_dim; i += int(me.n_threads))
        shared.query[i] = a.q[row * a.key_dim + i];
    me.barrier();

    const int position = a.positions[token];
    const int first = first_seen(a, position);
    const int part = (position + 1 - first + a.n_splits - 1) / a.n_splits;
    const int begin = first + split * part;
    const int end = min(position + 1, begin + part);
    const Answer answer = answer_of(a, me, shared.query, head, position, begin, end);

    // The warps' answers become one.
    const int warp = int(me.warp());
    if (me.lane() == 0) {
        shared.largest[warp] = answer.largest;
        shared.sums[warp] = answer.sum;
    }
    for (int i = 0; 32 * i < a.value_dim; ++i) {
        const int column = 32 * i + int(me.lane());
        if (column < a.value_dim) shared.values[warp * kMaxValueDim + column] = answer.values[i];
    }
    me.barrier();
    const bool whole = a.n_splits == 1;
    float largest = whole && a.sinks ? float(a.sinks[head]) : -INFINITY;
    for (int w = 0; w < int(me.n_warps()); ++w) largest = fmax(largest, shared.largest[w]);
    float sum = whole && a.sinks ? exp(a.sinks[head] - largest) : 0.0f;
    for (int w = 0; w < int(me.n_warps()); ++w) {
        if (shared.sums[w] > 0.0f) sum += shared.sums[w] * exp(shared.largest[w] - largest);
    }
    const int64_t partial = (row * a.n_splits + split) * (2 + a.value_dim);
    if (!whole && me.index == 0) {
        a.partial[partial] = largest;
        a.partial[partial + 1] = sum;
    }
    for (int i = int(me.index); i < a.value_dim; i += int(me.n_threads)) {
        float value = 0.0f;
        for (int w = 0; w < int(me.n_warps()); ++w) {
            if (shared.sums[w] > 0.0f)
                value = fma(shared.values[w * kMaxValueDim + i], exp(shared.largest[w] - largest), value);
        }
        if (whole) {
            a.y[row * a.value_dim + i] = value / sum;
        } else {
            a.partial[partial + 2 + i] = value;
        }
    }
}

/// The answers of the splits become one.
KERNEL(merge_attention, MergeAttentionArguments) {
    const int64_t row = int64_t(me.y) * a.n_heads + me.x;
    const int64_t stride = 2 + a.value_dim;
    GLOBAL(const float) parts = a.partial + row * a.n_splits * stride;
    float largest = a.sinks ? float(a.sinks[me.x]) : -INFINITY;
    for (int s = 0; s < a.n_splits; ++s) largest = fmax(largest, float(parts[s * stride]));
    float sum = a.sinks ? exp(a.sinks[me.x] - largest) : 0.0f;
    for (int s = 0; s < a.n_splits; ++s) {
        if (parts[s * stride + 1] > 0.0f) sum += parts[s * stride + 1] * exp(parts[s * stride] - largest);
    }
    for (int i = int(me.index); i < a.value_dim; i += int(me.n_threads)) {
        float value = 0.0f;
        for (int s = 0; s < a.n_splits; ++s) {
            if (parts[s * stride + 1] > 0.0f)
                value = fma(float(parts[s * stride + 2 + i]), exp(parts[s * stride] - largest), value);
        }
        a.y[row * a.value_dim + i] = value / sum;
    }
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

#pragma once
// Which experts a token goes to, and which tokens go to an expert.
#include "arguments.h"
#include "rows.h"

namespace ingot {
namespace runtime {
namespace gpu {

struct RouteShared {
    GROUP_ARRAY(float, scores, kMaxExperts);     // what the weights are made of
    GROUP_ARRAY(float, selection, kMaxExperts);  // what is chosen by; -infinity: not any more
    GROUP_ARRAY(float, groups, kMaxExperts);     // of each group of experts: its score; likewise
};

/// The place of the largest of n scores, the first of equals; NaN counts as -infinity, and what was taken
/// before is NaN. Every lane gets it; -1 when all were taken.
FUNCTION int largest_of(Thread me, GROUP(float) scores, int n) {
    float best = -INFINITY;
    int place = n;  // none
    for (int i = int(me.lane()); i < n; i += 32) {
        const float score = scores[i];
        if (isnan(score)) continue;
        if (place == n || score > best) {
            best = score;
            place = i;
        }
    }
    const float most = me.lane_max(best);
    const float first = -me.lane_max(place < n && best == most ? -float(place) : -float(n));
    return int(first) < n ? int(first) : -1;
}

/// -infinity for NaN, so that NaN can mean "taken".
FUNCTION float without_nan(float x) {
    return isnan(x) ? -INFINITY : x;
}

/// The sum of the one or two largest of a group's n scores, which lie next to each other.
FUNCTION float group_score(GROUP(float) scores, int n, int n_summed) {
    float first = -INFINITY, second = -INFINITY;
    for (int i = 0; i < n; ++i) {
        const float score = scores[i];
        if (score > first) {
            second = first;
            first = score;
        } else if (score > second) {
            second = score;
        }
    }
    return n_summed == 1 || n == 1 ? first : first + second;
}

GROUP_KERNEL(route, RouteArguments, RouteShared) {
    const int token = int(me.x), lane = int(me.lane());
    const int64_t row = int64_t(token) * a.n_experts;
    // Scores: probabilities of all (gating 0), each by itself (1), or the logits (2).
    float largest = -INFINITY, sum = 0.0f;
    for (int i = lane; i < a.n_experts; i += 32) largest = fmax(largest, float(a.logits[row + i]));
    largest = me.lane_max(largest);
    for (int i = lane; i < a.n_experts; i += 32) sum += exp(a.logits[row + i] - largest);
    sum = me.lane_sum(sum);
    for (int i = lane; i < a.n_experts; i += 32) {
        float score = a.logits[row + i];
        if (a.gating == 0) score = exp(score - largest) / sum;
        if (a.gating == 1) score = 1.0f / (1.0f + exp(-score));
        shared.scores[i] = score;
        shared.selection[i] = without_nan(a.selection_bias ? score + a.selection_bias[i] : score);
    }
    me.barrier();

    if (a.n_groups > 1) {
        const int n = a.n_experts / a.n_groups;
        for (int g = lane; g < a.n_groups; g += 32)
            shared.groups[g] = without_nan(group_score(shared.selection + g * n, n, a.sum_of_largest));
        me.barrier();
        for (int i = 0; i < a.n_groups_used; ++i) {
            const int group = largest_of(me, shared.groups, a.n_groups);
            me.barrier();
            if (lane == 0 && group >= 0) shared.groups[group] = NAN;
            me.barrier();
        }
        for (int i = lane; i < a.n_experts; i += 32) {
            if (!isnan(float(shared.groups[i / n]))) shared.selection[i] = -INFINITY;
        }
        me.barrier();
    }

    float chosen_largest = -INFINITY;
    for (int i = 0; i < a.n_used; ++i) {
        const int expert = largest_of(me, shared.selection, a.n_experts);
        chosen_largest = fmax(chosen_largest, float(shared.scores[expert]));
        me.barrier();
        if (lane == 0) {
            shared.selection[expert] = NAN;
            a.experts[int64_t(token) * a.n_used + i] = expert;
        }
        me.barrier();
    }
    if (lane != 0) return;
    GLOBAL(float) weights = a.weights + int64_t(token) * a.n_used;
    GLOBAL(int32_t) experts = a.experts + int64_t(token) * a.n_used;
    float total = 0.0f;
    for (int i = 0; i < a.n_used; ++i) {
        float weight = shared.scores[experts[i]];
        if (a.gating == 2) weight = exp(weight - chosen_largest);
        weights[i] = weight;
        total += weight;
    }
    // Probabilities of the chosen sum to 1. As small a sum as float16 can hold is the least: sigmoids may all
    // be zero.
    const float divisor = a.gating == 2 ? total : a.normalize != 0 ? max(total, 6.103515625e-5f) : 1.0f;
    for (int i = 0; i < a.n_used; ++i) {
        const float scale = a.expert_scales ? a.scale * a.expert_scales[experts[i]] : a.scale;
        weights[i] = weights[i] / divisor * scale;
    }
}

// ── Slots by expert: a group for each expert ────────────────────────────────────────────────────────────

GROUP_KERNEL(count_slots, SortSlotsArguments, NormShared) {
    float n = 0.0f;  // up to 2^24 are exact
    for (int i = int(me.index); i < a.n_slots; i += int(me.n_threads))
        n += a.experts[i] == int(me.x) ? 1.0f : 0.0f;
    n = group_sum(me, n, shared.parts);
    if (me.index == 0) a.counts[me.x] = int(n);
}

struct SortShared {
    GROUP_ARRAY(float, parts, 32);          // see group_sum()
    GROUP_ARRAY(int, counts, kMaxThreads);  // of each thread's slots, those that are the expert's
};

/// In the order of their numbers.
GROUP_KERNEL(sort_slots, SortSlotsArguments, SortShared) {
    const int expert = int(me.x), place = int(me.index), n_threads = int(me.n_threads);
    float before = 0.0f, all = 0.0f;  // tiles of the experts before, and of all
    for (int i = place; i < a.n_experts; i += n_threads) {
        const float n_tiles = float((a.counts[i] + a.n_tokens - 1) / a.n_tokens);
        all += n_tiles;
        if (i < expert) before += n_tiles;
    }
    const int tile = int(group_sum(me, before, shared.parts));
    const int n_used = int(group_sum(me, all, shared.parts));
    const int n_tiles = (a.counts[expert] + a.n_tokens - 1) / a.n_tokens;
    const int n_each = (a.n_slots + n_threads - 1) / n_threads;
    const int first = place * n_each, end = min(first + n_each, a.n_slots);
    int n = 0;
    for (int i = first; i < end; ++i) n += a.experts[i] == expert ? 1 : 0;
    shared.counts[place] = n;
    me.barrier();
    int at = tile * a.n_tokens;
    for (int i = 0; i < place; ++i) at += shared.counts[i];
    for (int i = first; i < end; ++i) {
        if (a.experts[i] == expert) a.slots[at++] = i;
    }
    for (int i = a.counts[expert] + place; i < n_tiles * a.n_tokens; i += n_threads)
        a.slots[tile * a.n_tokens + i] = -1;
    for (int i = place; i < n_tiles; i += n_threads) a.tiles[tile + i] = expert;
    if (expert > 0) return;
    for (int i = n_used + place; i < a.n_tiles; i += n_threads) a.tiles[i] = -1;
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

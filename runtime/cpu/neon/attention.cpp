// Attention of one token: softmax(scale * queries · keys) · values. Up to 2 queries that share a KV head meet
// each key and each value while it is in registers; keys go by 4 positions, values by 16 dimensions at a
// time.
#include "runtime/cpu/neon/exp.h"
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

// 4 elements, or as many as are left (none is fine) and zeros.
INGOT_INLINE float32x4_t load_some(const uint16_t* from, int64_t n_left) {
    return n_left > 0 ? load_halves(from, n_left) : vdupq_n_f32(0);
}
INGOT_INLINE float32x4_t load_some(const float* from, int64_t n_left) {
    return n_left > 0 ? load_floats(from, n_left) : vdupq_n_f32(0);
}

// scores (Q, n_positions) of the queries first … first + Q-1
template <int Q, typename Element>
static void score(const AttentionArguments& a, int64_t first) {
    for (int64_t p = 0; p < a.n_positions; p += 4) {
        const int64_t n = a.n_positions - p < 4 ? a.n_positions - p : 4;
        const Element* keys[4];  // beyond the last position: the last key again, whose score is not stored
        for (int64_t i = 0; i < 4; ++i)
            keys[i] = static_cast<const Element*>(a.keys) + (p + (i < n ? i : n - 1)) * a.key_stride;
        float32x4_t sums[Q][4];
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) sums[q][i] = vdupq_n_f32(0);
        }
        for (int64_t i = 0; i < 4; ++i) {
            prefetch_position(a.keys, size_t(a.key_stride) * sizeof(Element),
                              size_t(a.key_dim) * sizeof(Element), p + i);
        }
        for (int64_t d = 0; d < a.key_dim; d += 4) {
            float32x4_t key[4];
            for (int i = 0; i < 4; ++i) key[i] = load_some(keys[i] + d, a.key_dim - d);
            for (int q = 0; q < Q; ++q) {
                const float32x4_t query = load_some(a.queries + (first + q) * a.key_dim + d, a.key_dim - d);
                for (int i = 0; i < 4; ++i) sums[q][i] = vfmaq_f32(sums[q][i], query, key[i]);
            }
        }
        for (int q = 0; q < Q; ++q) {
            const float32x4_t four =
                vpaddq_f32(vpaddq_f32(sums[q][0], sums[q][1]), vpaddq_f32(sums[q][2], sums[q][3]));
            store_floats(a.scores + (first + q) * a.n_positions + p, vmulq_n_f32(four, a.scale), n);
        }
    }
}

// The soft cap and the distance's penalty, for the models that have them.
static void adjust(const AttentionArguments& a, int64_t query, float* scores) {
    const float slope = a.slopes ? a.slopes[query] : 0.0f;
    constexpr float kSteps[4] = {0, 1, 2, 3};
    for_each_4(a.n_positions, [&](int64_t p, int64_t n) {
        float32x4_t score = load_floats(scores + p, n);
        if (a.soft_cap > 0) score = capped(score, a.soft_cap);
        const float32x4_t distance = vsubq_f32(vdupq_n_f32(float(a.n_positions - 1 - p)), vld1q_f32(kSteps));
        store_floats(scores + p, vfmsq_n_f32(score, distance, slope), n);
    });
}

// exp(x). A weight of e^-64 cannot change a float sum in which another is 1. As zero it keeps the products
// out of the denormal numbers, with which processors take many times as long.
INGOT_INLINE float32x4_t weights(float32x4_t x) {
    const uint32x4_t too_small = vcltq_f32(x, vdupq_n_f32(-64));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(exp(x)), too_small));
}

// scores -> exp(scores - the largest), and their sum. A sink is one more score; without one it is -infinity.
struct Sum {
    float largest, sum;
    float logarithm() const { return largest + __builtin_logf(sum); }
};
static Sum exponentiate(float* scores, int64_t size, float sink) {
    float largest = sink;
    for (int64_t i = 0; i < size; ++i) largest = scores[i] > largest ? scores[i] : largest;
    const float32x4_t maximum = vdupq_n_f32(largest);
    float32x4_t sum = vdupq_n_f32(0);
    for_each_4(size, [&](int64_t i, int64_t n) {
        const float32x4_t e = weights(vsubq_f32(load_floats(scores + i, n), maximum));
        store_floats(scores + i, e, n);
        sum = vaddq_f32(sum, load_floats(scores + i, n));  // again: without the lanes that are none
    });
    const float sink_share = vgetq_lane_f32(exp(vdupq_n_f32(sink - largest)), 0);
    return {largest, vaddvq_f32(sum) + sink_share};
}

// outputs (Q, value_dim) of the queries first … first + Q-1
template <int Q, typename Element>
static void mix(const AttentionArguments& a, int64_t first, const float (&reciprocals)[Q]) {
    constexpr int64_t kColumns = 16;
    for (int64_t d = 0; d < a.value_dim; d += kColumns) {
        float32x4_t sums[Q][4];
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) sums[q][i] = vdupq_n_f32(0);
        }
        for (int64_t p = 0; p < a.n_positions; ++p) {
            prefetch_position(static_cast<const Element*>(a.values) + d,
                              size_t(a.value_stride) * sizeof(Element), kColumns * sizeof(Element), p);
            float32x4_t value[4];
            for (int i = 0; i < 4; ++i) {
                const int64_t begin = d + 4 * i;
                value[i] = load_some(static_cast<const Element*>(a.values) + p * a.value_stride + begin,
                                     a.value_dim - begin);
            }
            for (int q = 0; q < Q; ++q) {
                const float weight = a.scores[(first + q) * a.n_positions + p];
                for (int i = 0; i < 4; ++i) sums[q][i] = vfmaq_n_f32(sums[q][i], value[i], weight);
            }
        }
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4 && d + 4 * i < a.value_dim; ++i) {
                const int64_t begin = d + 4 * i;
                store_floats(a.output + (first + q) * a.value_dim + begin,
                             vmulq_n_f32(sums[q][i], reciprocals[q]), a.value_dim - begin);
            }
        }
    }
}

template <int Q, typename Element>
static void attend(const AttentionArguments& a, int64_t first) {
    float reciprocals[Q];
    score<Q, Element>(a, first);
    for (int q = 0; q < Q; ++q) {
        float* scores = a.scores + (first + q) * a.n_positions;
        if (a.soft_cap > 0 || a.slopes) adjust(a, first + q, scores);
        const Sum sum = exponentiate(scores, a.n_positions, a.sinks ? a.sinks[first + q] : -__builtin_inff());
        reciprocals[q] = 1 / sum.sum;
        if (a.log_sums) a.log_sums[first + q] = sum.logarithm();
    }
    mix<Q, Element>(a, first, reciprocals);
}

template <typename Element>
static void attend_all(const AttentionArguments& a) {
    int64_t q = 0;
    for (; q + 2 <= a.n_queries; q += 2) attend<2, Element>(a, q);
    if (q < a.n_queries) attend<1, Element>(a, q);
}

}  // namespace

void attention(const AttentionArguments& a) {
    a.float_cache ? attend_all<float>(a) : attend_all<uint16_t>(a);
}

}  // namespace ingot::runtime::cpu::neon

// Attention of one token: softmax(scale * queries · keys) · values. Up to 2 queries that share a KV head meet
// each key and each value while it is in registers; keys go by 4 positions, values by 32 dimensions at a
// time.
#include "runtime/cpu/avx2/avx2.h"
#include "runtime/cpu/avx2/exp.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

// 8 halves, or as many as are left (none is fine) and zeros.
INGOT_INLINE __m256 load_some(const uint16_t* from, int64_t n_left) {
    if (n_left >= 8) return load_half(from);
    return n_left > 0 ? load_half(from, n_left) : _mm256_setzero_ps();
}
INGOT_INLINE __m256 load_some(const float* from, int64_t n_left) {
    if (n_left >= 8) return _mm256_loadu_ps(from);
    return n_left > 0 ? _mm256_maskload_ps(from, lanes(n_left)) : _mm256_setzero_ps();
}

// scores (Q, n_positions) of the queries first … first + Q-1
template <int Q, typename Element>
static void score(const AttentionArguments& a, int64_t first) {
    for (int64_t p = 0; p < a.n_positions; p += 4) {
        const int64_t n = a.n_positions - p < 4 ? a.n_positions - p : 4;
        const Element* keys[4];  // beyond the last position: the last key again, whose score is not stored
        for (int64_t i = 0; i < 4; ++i)
            keys[i] = static_cast<const Element*>(a.keys) + (p + (i < n ? i : n - 1)) * a.key_stride;
        __m256 sums[Q][4];
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) sums[q][i] = _mm256_setzero_ps();
        }
        for (int64_t i = 0; i < 4; ++i) {
            prefetch_position(a.keys, size_t(a.key_stride) * sizeof(Element),
                              size_t(a.key_dim) * sizeof(Element), p + i);
        }
        for (int64_t d = 0; d < a.key_dim; d += 8) {
            __m256 key[4];
            for (int i = 0; i < 4; ++i) key[i] = load_some(keys[i] + d, a.key_dim - d);
            for (int q = 0; q < Q; ++q) {
                const __m256 query = load_some(a.queries + (first + q) * a.key_dim + d, a.key_dim - d);
                for (int i = 0; i < 4; ++i) sums[q][i] = _mm256_fmadd_ps(query, key[i], sums[q][i]);
            }
        }
        for (int q = 0; q < Q; ++q) {
            float* scores = a.scores + (first + q) * a.n_positions + p;
            for (int64_t i = 0; i < n; ++i) scores[i] = add_lanes(sums[q][i]) * a.scale;
        }
    }
}

// The soft cap and the distance's penalty, for the models that have them.
static void adjust(const AttentionArguments& a, int64_t query, float* scores) {
    const __m256 slope = _mm256_set1_ps(a.slopes ? a.slopes[query] : 0.0f);
    const __m256 steps = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
    for_each_8(a.n_positions, [&](const auto& memory, int64_t p) {
        __m256 score = memory.load(scores + p);
        if (a.soft_cap > 0) score = capped(score, a.soft_cap);
        const __m256 distance = _mm256_sub_ps(_mm256_set1_ps(float(a.n_positions - 1 - p)), steps);
        memory.store(scores + p, _mm256_fnmadd_ps(slope, distance, score));
    });
}

// exp(x). A weight of e^-64 cannot change a float sum in which another is 1. As zero it keeps the products
// out of the denormal numbers, with which processors take many times as long.
INGOT_INLINE __m256 weights(__m256 x) {
    return _mm256_and_ps(exp(x), _mm256_cmp_ps(x, _mm256_set1_ps(-64), _CMP_NLT_UQ));
}

// scores -> exp(scores - the largest), and their sum. A sink is one more score; without one it is -infinity.
struct Sum {
    float largest, sum;
    float logarithm() const { return largest + __builtin_logf(sum); }
};
static Sum exponentiate(float* scores, int64_t n, float sink) {
    float largest = sink;
    for (int64_t i = 0; i < n; ++i) largest = scores[i] > largest ? scores[i] : largest;
    const __m256 maximum = _mm256_set1_ps(largest);
    __m256 sum = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        const __m256 e = weights(_mm256_sub_ps(_mm256_loadu_ps(scores + i), maximum));
        _mm256_storeu_ps(scores + i, e);
        sum = _mm256_add_ps(sum, e);
    }
    if (i < n) {
        const __m256i mask = lanes(n - i);
        const __m256 e = weights(_mm256_sub_ps(_mm256_maskload_ps(scores + i, mask), maximum));
        _mm256_maskstore_ps(scores + i, mask, e);
        sum = _mm256_add_ps(sum, _mm256_and_ps(e, _mm256_castsi256_ps(mask)));
    }
    const float sink_share = _mm_cvtss_f32(_mm256_castps256_ps128(exp(_mm256_set1_ps(sink - largest))));
    return {largest, add_lanes(sum) + sink_share};
}

// outputs (Q, value_dim) of the queries first … first + Q-1
template <int Q, typename Element>
static void mix(const AttentionArguments& a, int64_t first, const float (&reciprocals)[Q]) {
    constexpr int64_t kColumns = 32;
    for (int64_t d = 0; d < a.value_dim; d += kColumns) {
        __m256 sums[Q][4];
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) sums[q][i] = _mm256_setzero_ps();
        }
        for (int64_t p = 0; p < a.n_positions; ++p) {
            prefetch_position(static_cast<const Element*>(a.values) + d,
                              size_t(a.value_stride) * sizeof(Element), kColumns * sizeof(Element), p);
            __m256 value[4];
            for (int i = 0; i < 4; ++i) {
                const int64_t begin = d + 8 * i;
                value[i] = load_some(static_cast<const Element*>(a.values) + p * a.value_stride + begin,
                                     a.value_dim - begin);
            }
            for (int q = 0; q < Q; ++q) {
                const __m256 weight = _mm256_broadcast_ss(&a.scores[(first + q) * a.n_positions + p]);
                for (int i = 0; i < 4; ++i) sums[q][i] = _mm256_fmadd_ps(weight, value[i], sums[q][i]);
            }
        }
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) {
                const int64_t begin = d + 8 * i;
                if (begin >= a.value_dim) break;
                float* output = a.output + (first + q) * a.value_dim + begin;
                const __m256 y = _mm256_mul_ps(sums[q][i], _mm256_set1_ps(reciprocals[q]));
                if (begin + 8 <= a.value_dim)
                    _mm256_storeu_ps(output, y);
                else
                    _mm256_maskstore_ps(output, lanes(a.value_dim - begin), y);
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

}  // namespace ingot::runtime::cpu::avx2

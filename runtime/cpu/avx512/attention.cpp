// Attention of one token: softmax(scale * queries · keys) · values. Up to 4 queries that share a KV head meet
// each key and each value while it is in registers; keys go by 4 positions, values by 64 dimensions at a
// time.
#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/avx512/exp.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

INGOT_INLINE __m512 load(__mmask16 mask, const uint16_t* from) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from));
}
INGOT_INLINE __m512 load(__mmask16 mask, const float* from) {
    return _mm512_maskz_loadu_ps(mask, from);
}

// The sums of the lanes of four vectors.
INGOT_INLINE __m128 add_lanes(const __m512 (&v)[4]) {
    __m256 halves[4];
    for (int i = 0; i < 4; ++i) {
        halves[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_extractf32x8_ps(v[i], 1));
    }
    const __m256 all =
        _mm256_hadd_ps(_mm256_hadd_ps(halves[0], halves[1]), _mm256_hadd_ps(halves[2], halves[3]));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

// scores (Q, n_positions) of the queries first … first + Q-1
template <int Q, typename Element>
static void score(const AttentionArguments& a, int64_t first) {
    for (int64_t p = 0; p < a.n_positions; p += 4) {
        const Element* keys[4];  // beyond the last position: the last key again, whose score is not stored
        for (int64_t i = 0; i < 4; ++i) {
            keys[i] = static_cast<const Element*>(a.keys) +
                      (p + i < a.n_positions ? p + i : a.n_positions - 1) * a.key_stride;
        }
        __m512 sums[Q][4];
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) sums[q][i] = _mm512_setzero_ps();
        }
        for (int64_t i = 0; i < 4; ++i) {
            prefetch_position(a.keys, size_t(a.key_stride) * sizeof(Element),
                              size_t(a.key_dim) * sizeof(Element), p + i);
        }
        for (int64_t d = 0; d < a.key_dim; d += 16) {
            const __mmask16 mask = lanes(a.key_dim - d);
            __m512 key[4];
            for (int i = 0; i < 4; ++i) key[i] = load(mask, keys[i] + d);
            for (int q = 0; q < Q; ++q) {
                const __m512 query = _mm512_maskz_loadu_ps(mask, a.queries + (first + q) * a.key_dim + d);
                for (int i = 0; i < 4; ++i) sums[q][i] = _mm512_fmadd_ps(query, key[i], sums[q][i]);
            }
        }
        const __mmask8 mask = __mmask8(lanes(a.n_positions - p) & 0xf);
        for (int q = 0; q < Q; ++q) {
            const __m128 scores = _mm_mul_ps(add_lanes(sums[q]), _mm_set1_ps(a.scale));
            _mm_mask_storeu_ps(a.scores + (first + q) * a.n_positions + p, mask, scores);
        }
    }
}

// The soft cap and the distance's penalty, for the models that have them.
static void adjust(const AttentionArguments& a, int64_t query, float* scores) {
    const __m512 slope = _mm512_set1_ps(a.slopes ? a.slopes[query] : 0.0f);
    const __m512 steps = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int64_t p = 0; p < a.n_positions; p += 16) {
        const __mmask16 mask = lanes(a.n_positions - p);
        __m512 score = _mm512_maskz_loadu_ps(mask, scores + p);
        if (a.soft_cap > 0) score = capped(score, a.soft_cap);
        const __m512 distance = _mm512_sub_ps(_mm512_set1_ps(float(a.n_positions - 1 - p)), steps);
        _mm512_mask_storeu_ps(scores + p, mask, _mm512_fnmadd_ps(slope, distance, score));
    }
}

// A weight of e^-64 cannot change a float sum in which another is 1. As zero it keeps the products out of the
// denormal numbers, with which processors take many times as long.
constexpr float kLeastExponent = -64;

// scores -> exp(scores - the largest), and their sum. A sink is one more score; without one it is -infinity.
struct Sum {
    float largest, sum;
    float logarithm() const { return largest + __builtin_logf(sum); }
};
static Sum exponentiate(float* scores, int64_t n, float sink) {
    const __m512 lowest = _mm512_set1_ps(sink);
    __m512 largest = lowest;
    for (int64_t i = 0; i < n; i += 16) {
        largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(lowest, lanes(n - i), scores + i));
    }
    const float most = _mm512_reduce_max_ps(largest);
    const __m512 maximum = _mm512_set1_ps(most);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 x = _mm512_sub_ps(_mm512_maskz_loadu_ps(mask, scores + i), maximum);
        const __mmask16 counts = _mm512_cmp_ps_mask(x, _mm512_set1_ps(kLeastExponent), _CMP_NLT_UQ);
        const __m512 e = _mm512_maskz_mov_ps(counts, exp(x));
        _mm512_mask_storeu_ps(scores + i, mask, e);
        sum = _mm512_mask_add_ps(sum, mask, sum, e);
    }
    const __m512 sink_share = exp(_mm512_sub_ps(_mm512_set1_ps(sink), maximum));
    return {most, _mm512_reduce_add_ps(sum) + _mm512_cvtss_f32(sink_share)};
}

// outputs (Q, value_dim) of the queries first … first + Q-1
template <int Q, typename Element>
static void mix(const AttentionArguments& a, int64_t first, const float (&reciprocals)[Q]) {
    constexpr int64_t kColumns = 64;
    for (int64_t d = 0; d < a.value_dim; d += kColumns) {
        __mmask16 masks[4];
        __m512 sums[Q][4];
        for (int i = 0; i < 4; ++i) {
            const int64_t left = a.value_dim - d - 16 * i;
            masks[i] = left > 0 ? lanes(left) : __mmask16(0);
            for (int q = 0; q < Q; ++q) sums[q][i] = _mm512_setzero_ps();
        }
        for (int64_t p = 0; p < a.n_positions; ++p) {
            prefetch_position(static_cast<const Element*>(a.values) + d,
                              size_t(a.value_stride) * sizeof(Element), kColumns * sizeof(Element), p);
            __m512 value[4];
            for (int i = 0; i < 4; ++i)
                value[i] =
                    load(masks[i], static_cast<const Element*>(a.values) + p * a.value_stride + d + 16 * i);
            for (int q = 0; q < Q; ++q) {
                const __m512 weight = _mm512_set1_ps(a.scores[(first + q) * a.n_positions + p]);
                for (int i = 0; i < 4; ++i) sums[q][i] = _mm512_fmadd_ps(weight, value[i], sums[q][i]);
            }
        }
        for (int q = 0; q < Q; ++q) {
            for (int i = 0; i < 4; ++i) {
                _mm512_mask_storeu_ps(a.output + (first + q) * a.value_dim + d + 16 * i, masks[i],
                                      _mm512_mul_ps(sums[q][i], _mm512_set1_ps(reciprocals[q])));
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
    for (; q + 4 <= a.n_queries; q += 4) attend<4, Element>(a, q);
    switch (a.n_queries - q) {
        case 3:
            return attend<3, Element>(a, q);
        case 2:
            return attend<2, Element>(a, q);
        case 1:
            return attend<1, Element>(a, q);
    }
}

}  // namespace

void attention(const AttentionArguments& a) {
    a.float_cache ? attend_all<float>(a) : attend_all<uint16_t>(a);
}

}  // namespace ingot::runtime::cpu::avx512

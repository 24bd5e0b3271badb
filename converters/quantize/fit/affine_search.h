#pragma once
// x ~ scale * level + offset with levels 0 ... kMost: searches for the scale and offset of one group.
#include <cmath>

#include "converters/quantize/fit/lanes.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {

/// What a choice of levels l says about the best scale and offset. With the sums that levels do not change
/// (Σ w, Σ w x) these give the least squares solution and its error in closed form.
struct LevelSums {
    float l = 0;   // Σ w l
    float ll = 0;  // Σ w l²
    float xl = 0;  // Σ w x l
};

/// Sums that the levels do not change.
struct GroupSums {
    float w = 0;   // Σ w
    float x = 0;   // Σ w x
    float xx = 0;  // Σ w x²
};

template <int kElements>
INGOT_INLINE GroupSums group_sums(const Group<kElements>& group) {
    Lanes w{}, x{};
    for (int i = 0; i < kElements; i += kLanes) {
        w += load(group.w + i);
        x += load(group.wx + i);
    }
    return {sum(w), sum(x), squares(group)};
}

/// Levels nearest to (x - offset) * inverse.
template <int kMost, int kElements>
INGOT_INLINE LevelSums level_sums(const Group<kElements>& group, float inverse, float offset) {
    Lanes l{}, ll{}, xl{};
    for (int i = 0; i < kElements; i += kLanes) {
        const Lanes level = nearest_integer((load(group.x + i) - offset) * inverse, 0, kMost);
        const Lanes weighted = load(group.w + i) * level;
        l += weighted;
        ll += weighted * level;
        xl += load(group.wx + i) * level;
    }
    return {sum(l), sum(ll), sum(xl)};
}

/// Σ w (x - offset)²: the error where the scale is zero.
template <class V>
INGOT_INLINE V flat_errors(const GroupSums& totals, V offset) {
    return larger(totals.xx + offset * (offset * totals.w - 2.0f * totals.x), V{});
}

/// Σ w (x - (scale * level + offset))² with the levels nearest to x: the errors of what a reader decodes.
template <class V, int kMost, int kElements, size_t n>
INGOT_INLINE Candidates<n> affine_errors(const Group<kElements>& group, const GroupSums& totals,
                                         const Candidates<n>& scales, const Candidates<n>& offsets) {
    using W = LanesFor<V, n>;
    constexpr size_t kWidth = sizeof(W) / sizeof(float), kVectors = n / kWidth;
    W scale[kVectors], offset[kVectors], inverse[kVectors], error[kVectors];
    for (size_t k = 0; k < kVectors; ++k) {
        scale[k] = load<W>(scales.data() + kWidth * k);
        offset[k] = load<W>(offsets.data() + kWidth * k);
        inverse[k] = inverse_or_zero(scale[k]);
        error[k] = W{};
    }
    for (int i = 0; i < kElements; ++i)
        for (size_t k = 0; k < kVectors; ++k) {
            const W scaled = (group.x[i] - offset[k]) * inverse[k];
            const W miss = scaled - nearest_integer(scaled, 0, kMost);
            error[k] += (group.w[i] * miss) * miss;
        }
    Candidates<n> errors;
    for (size_t k = 0; k < kVectors; ++k)
        store(errors.data() + kWidth * k,
              scale[k] != 0.0f ? error[k] * (scale[k] * scale[k]) : flat_errors(totals, offset[k]));
    return errors;
}

template <int kMost, int kElements>
INGOT_INLINE void store_levels(const Group<kElements>& group, float scale, float offset, uint8_t* codes) {
    const float inverse = inverse_or_zero(scale);
    for (int i = 0; i < kElements; i += kLanes)
        store_bytes(codes + i, nearest_bits((load(group.x + i) - offset) * inverse, 0, kMost) - kRoundBits);
}

/// A scale and an offset that may be any numbers, and the sums of the levels that led to them.
struct Affine {
    float scale = 0;
    float offset = 0;
    float gain = 0;  // how much lower the squared error is than with all values zero
    LevelSums sums;
};

/// Least squares for given levels, for floats or lanes of them. Where `kBelowZero`, the offset must not be
/// positive. Where all levels are zero the gain may be no number.
template <bool kBelowZero, typename Number>
struct Solution {
    Number scale, offset, gain;

    [[gnu::always_inline]] Solution(const GroupSums& group, Number l, Number ll, Number xl) {
        const Number determinant = group.w * ll - l * l;
        const Number inverse = 1.0f / determinant;
        scale = (group.w * xl - group.x * l) * inverse;
        offset = (ll * group.x - l * xl) * inverse;
        // Levels that are all the same, but for rounding, say nothing of the offset.
        const auto undetermined = determinant <= 1e-6f * (group.w * ll);
        if constexpr (kBelowZero) {
            scale = ((offset > 0.0f) | undetermined) ? xl / ll : scale;
            offset = ((offset > 0.0f) | undetermined) ? Number{} : offset;
        } else {
            scale = undetermined ? Number{} : scale;
            offset = undetermined ? group.x / group.w - Number{} : offset;
        }
        gain = scale * xl + offset * group.x;
    }
};

/// Pairs of numbers to try, one in each lane.
template <size_t kPairs>
struct Pairs {
    Candidates<kPairs> first, second;
};

/// Each of some numbers with each of others.
template <size_t kFirst, size_t kSecond>
constexpr Pairs<kFirst * kSecond> all_pairs(const float (&first)[kFirst], const float (&second)[kSecond]) {
    Pairs<kFirst * kSecond> pairs{};
    for (size_t i = 0; i < kFirst * kSecond; ++i) {
        pairs.first[i] = first[i / kSecond];
        pairs.second[i] = second[i % kSecond];
    }
    return pairs;
}

/// The scale and offset that serve the group best when they may be any numbers. Each lane tries one pair of
/// ends.
template <class V, class Layout, bool kBelowZero, int kElements>
INGOT_INLINE Affine best_affine(const Group<kElements>& group, const GroupSums& totals, Range range) {
    constexpr int kMost = Layout::kMost;
    constexpr size_t n = Layout::kEnds.first.size();
    using W = LanesFor<V, n>;
    constexpr size_t kWidth = sizeof(W) / sizeof(float), kVectors = n / kWidth;
    if (kBelowZero && range.low > 0) range.low = 0;
    Affine best;
    if (!(range.high > range.low)) {  // a constant
        best.offset = range.low;
        return best;
    }
    const float width = range.high - range.low;
    W inverse[kVectors], offset[kVectors], l[kVectors], ll[kVectors], xl[kVectors];
    for (size_t k = 0; k < kVectors; ++k) {
        const W below = load<W>(Layout::kEnds.first.data() + kWidth * k);
        const W span = below + load<W>(Layout::kEnds.second.data() + kWidth * k) + float(kMost);
        inverse[k] = span / width;
        offset[k] = range.low + below * width / span;
        l[k] = ll[k] = xl[k] = W{};
    }
    for (int i = 0; i < kElements; ++i)
        for (size_t k = 0; k < kVectors; ++k) {
            const W level = nearest_integer((group.x[i] - offset[k]) * inverse[k], 0, kMost);
            const W weighted = group.w[i] * level;
            l[k] += weighted;
            ll[k] += weighted * level;
            xl[k] += group.wx[i] * level;
        }

    Candidates<n> costs, scales, offsets, all_l, all_ll, all_xl;
    for (size_t k = 0; k < kVectors; ++k) {
        const Solution<kBelowZero, W> fitted(totals, l[k], ll[k], xl[k]);
        const W gain = ll[k] > 0.0f ? fitted.gain : W{};
        store(costs.data() + kWidth * k, larger(totals.xx - gain, W{}));
        store(scales.data() + kWidth * k, fitted.scale);
        store(offsets.data() + kWidth * k, fitted.offset);
        store(all_l.data() + kWidth * k, l[k]);
        store(all_ll.data() + kWidth * k, ll[k]);
        store(all_xl.data() + kWidth * k, xl[k]);
    }
    const int first = least(costs);
    best.scale = scales[first];
    best.offset = offsets[first];
    best.sums = {all_l[first], all_ll[first], all_xl[first]};
    best.gain = best.scale * best.sums.xl + best.offset * totals.x;
    // Rounding again at the fitted scale and offset can only lower the error (Lloyd's iteration).
    for (int round = 0; round < Layout::kLloydRounds; ++round) {
        const LevelSums sums = level_sums<kMost>(group, inverse_or_zero(best.scale), best.offset);
        const Solution<kBelowZero, float> fitted(totals, sums.l, sums.ll, sums.xl);
        if (!(fitted.gain > best.gain)) break;
        best = {fitted.scale, fitted.offset, fitted.gain, sums};
    }
    return best;
}

}  // namespace ingot::converters::fit

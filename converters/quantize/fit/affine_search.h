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

template <int kElements>
struct GroupSums {
    float w = 0;  // Σ w
    float x = 0;  // Σ w x
};

template <int kElements>
INGOT_INLINE GroupSums<kElements> group_sums(const Group<kElements>& group) {
    Lanes w = all(0), x = all(0);
    for (int i = 0; i < group.kVectors; ++i) {
        w += group.w[i];
        x += group.w[i] * group.x[i];
    }
    return {sum(w), sum(x)};
}

/// Levels nearest to (x - offset) * inverse.
template <int kMost, int kElements>
INGOT_INLINE LevelSums level_sums(const Group<kElements>& group, float inverse, float offset) {
    Lanes l = all(0), ll = all(0), xl = all(0);
    for (int i = 0; i < group.kVectors; ++i) {
        const Lanes level = round_to_integer(clamp((group.x[i] - offset) * inverse, 0, float(kMost)));
        const Lanes weighted = group.w[i] * level;
        l += weighted;
        ll += weighted * level;
        xl += weighted * group.x[i];
    }
    return {sum(l), sum(ll), sum(xl)};
}

/// Σ w (x - (scale * level + offset))² with the levels nearest to x: the error of what a reader decodes.
template <int kMost, int kElements>
INGOT_INLINE float affine_error(const Group<kElements>& group, float scale, float offset) {
    const float inverse = inverse_or_zero(scale);
    Lanes error = all(0);
    for (int i = 0; i < group.kVectors; ++i) {
        const Lanes level = round_to_integer(clamp((group.x[i] - offset) * inverse, 0, float(kMost)));
        const Lanes difference = group.x[i] - (level * scale + offset);
        error += group.w[i] * difference * difference;
    }
    return sum(error);
}

template <int kMost, int kElements>
INGOT_INLINE void store_levels(const Group<kElements>& group, float scale, float offset, uint8_t* codes) {
    const float inverse = inverse_or_zero(scale);
    for (int i = 0; i < group.kVectors; ++i) {
        const Lanes level = round_to_integer(clamp((group.x[i] - offset) * inverse, 0, float(kMost)));
        for (int k = 0; k < kLanes; ++k) codes[kLanes * i + k] = uint8_t(int(level[k]));
    }
}

/// A scale and an offset that may be any numbers, and the sums of the levels that led to them.
struct Affine {
    float scale = 0;
    float offset = 0;
    float gain = 0;  // how much lower the squared error is than with all values zero
    LevelSums sums;
};

/// Least squares for given levels. Where `kBelowZero`, the offset must not be positive.
template <bool kBelowZero, int kElements>
INGOT_INLINE Affine solve(const GroupSums<kElements>& group, const LevelSums& sums) {
    Affine best;
    best.sums = sums;
    const float determinant = group.w * sums.ll - sums.l * sums.l;
    if (determinant > 0) {
        best.scale = (group.w * sums.xl - group.x * sums.l) / determinant;
        best.offset = (sums.ll * group.x - sums.l * sums.xl) / determinant;
    } else {  // all levels are the same
        best.offset = group.x / group.w;
    }
    if (kBelowZero && best.offset > 0) {
        best.offset = 0;
        best.scale = sums.ll > 0 ? sums.xl / sums.ll : 0;
    }
    best.gain = best.scale * sums.xl + best.offset * group.x;
    return best;
}

/// The range of a group.
struct Range {
    float low = 0;
    float high = 0;
};

template <int kElements>
INGOT_INLINE Range range(const Group<kElements>& group) {
    Lanes low = group.x[0], high = group.x[0];
    for (int i = 1; i < group.kVectors; ++i) {
        low = smaller(low, group.x[i]);
        high = larger(high, group.x[i]);
    }
    return {smallest(low), largest(high)};
}

/// The scale and offset that serve the group best when they may be any numbers. The ends of the range are
/// tried at several places around the first and last level: inside, the grid is wider than the range;
/// outside, the extremes are clipped and the others gain precision.
template <class Layout, bool kBelowZero, int kElements>
INGOT_INLINE Affine best_affine(const Group<kElements>& group, Range ends) {
    constexpr int kMost = Layout::kMost;
    const auto totals = group_sums(group);
    if (kBelowZero && ends.low > 0) ends.low = 0;
    Affine best;
    if (!(ends.high > ends.low)) {  // a constant
        best.offset = ends.low;
        return best;
    }
    best.gain = -INFINITY;
    const float width = ends.high - ends.low;
    for (const float below : Layout::kBelow)
        for (const float above : Layout::kAbove) {
            const float inverse = (float(kMost) + below + above) / width;
            const float offset = ends.low + below / inverse;
            const Affine fitted = solve<kBelowZero>(totals, level_sums<kMost>(group, inverse, offset));
            if (fitted.gain > best.gain) best = fitted;
        }
    // Rounding again at the fitted scale and offset can only lower the error (Lloyd's iteration).
    for (int round = 0; round < 2; ++round) {
        const LevelSums sums = level_sums<kMost>(group, inverse_or_zero(best.scale), best.offset);
        const Affine fitted = solve<kBelowZero>(totals, sums);
        if (!(fitted.gain > best.gain)) break;
        best = fitted;
    }
    return best;
}

}  // namespace ingot::converters::fit

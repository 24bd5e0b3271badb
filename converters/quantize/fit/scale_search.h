#pragma once
// x ~ scale * level: searches for the scale of one group of elements.
#include <array>
#include <cmath>

#include "converters/quantize/fit/grid.h"
#include "converters/quantize/fit/lanes.h"
#include "format/half.h"

namespace ingot::converters::fit {

/// What a choice of levels l says about the best scale: the squared error Σ w (x - s l)² is least at
/// s = xl / ll, and lower by xl² / ll than with all levels zero.
struct ScaleSums {
    float xl = 0;  // Σ w x l
    float ll = 0;  // Σ w l²

    float best_scale() const { return ll > 0 ? xl / ll : 0; }
    float gain() const { return best_scale() * xl; }
};

/// Levels nearest to x * inverse.
template <class Grid, int kElements>
INGOT_INLINE ScaleSums scale_sums(const Group<kElements>& group, float inverse) {
    Lanes xl = all(0), ll = all(0);
    for (int i = 0; i < group.kVectors; ++i) {
        const Lanes level = Grid::nearest(group.x[i] * inverse);
        const Lanes weighted = group.w[i] * level;
        xl += weighted * group.x[i];
        ll += weighted * level;
    }
    return {sum(xl), sum(ll)};
}

INGOT_INLINE float inverse_or_zero(float scale) {
    return scale != 0 ? 1.0f / scale : 0.0f;
}

/// Σ w (x - scale * level)² with the levels nearest to x / scale: the error of what a reader decodes.
template <class Grid, int kElements>
INGOT_INLINE float scale_error(const Group<kElements>& group, float scale) {
    const float inverse = inverse_or_zero(scale);
    Lanes error = all(0);
    for (int i = 0; i < group.kVectors; ++i) {
        const Lanes difference = group.x[i] - Grid::nearest(group.x[i] * inverse) * scale;
        error += group.w[i] * difference * difference;
    }
    return sum(error);
}

/// The quants for a scale.
template <class Grid, int kElements>
INGOT_INLINE void store_codes(const Group<kElements>& group, float scale, uint8_t* codes) {
    const float inverse = inverse_or_zero(scale);
    for (int i = 0; i < group.kVectors; ++i) {
        const Lanes level = Grid::nearest(group.x[i] * inverse);
        for (int k = 0; k < kLanes; ++k) codes[kLanes * i + k] = Grid::code(level[k]);
    }
}

/// The element of largest magnitude, with its sign.
template <int kElements>
INGOT_INLINE float extreme(const Group<kElements>& group) {
    Lanes low = group.x[0], high = group.x[0];
    for (int i = 1; i < group.kVectors; ++i) {
        low = smaller(low, group.x[i]);
        high = larger(high, group.x[i]);
    }
    const float least = smallest(low), most = largest(high);
    return most >= -least ? most : least;
}

/// The scale that serves the group best when it may be any number. `targets` are the grid positions that the
/// element of largest magnitude is tried at: beyond the grid's end it is clipped and the others gain
/// precision.
template <class Grid, int kElements, size_t kTargets>
INGOT_INLINE ScaleSums best_scale(const Group<kElements>& group, float extreme_value,
                                  const std::array<float, kTargets>& targets) {
    ScaleSums best;
    float best_gain = 0;
    for (const float target : targets) {
        const ScaleSums sums = scale_sums<Grid>(group, target / extreme_value);
        const float gain = sums.gain();
        if (gain > best_gain) {
            best_gain = gain;
            best = sums;
        }
    }
    // Rounding again at the fitted scale can only lower the error (Lloyd's iteration).
    for (int round = 0; round < 2; ++round) {
        const ScaleSums sums = scale_sums<Grid>(group, inverse_or_zero(best.best_scale()));
        const float gain = sums.gain();
        if (!(gain > best_gain)) break;
        best_gain = gain;
        best = sums;
    }
    return best;
}

/// The nearest half that is finite.
INGOT_INLINE uint16_t finite_half(float value) {
    constexpr float kLargestHalf = 65504.0f;
    value = value > kLargestHalf ? kLargestHalf : value < -kLargestHalf ? -kLargestHalf : value;
    return float_to_half(value);
}

}  // namespace ingot::converters::fit

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

INGOT_INLINE float inverse_or_zero(float scale) {
    return scale != 0 ? 1.0f / scale : 0.0f;
}
INGOT_INLINE Lanes inverse_or_zero(Lanes scale) {
    return scale != 0.0f ? 1.0f / scale : Lanes{};
}

/// Levels nearest to x * inverse.
template <class Grid, int kElements>
INGOT_INLINE ScaleSums scale_sums(const Group<kElements>& group, float inverse) {
    Lanes xl{}, ll{};
    for (int i = 0; i < kElements; i += kLanes) {
        const Lanes level = Grid::nearest(load(group.x + i) * inverse);
        xl += load(group.wx + i) * level;
        ll += load(group.w + i) * level * level;
    }
    return {sum(xl), sum(ll)};
}

/// Σ w (x - scale * level)² with the levels nearest to x / scale, for eight stored scales at once, one in
/// each lane: the errors of what a reader decodes.
template <class Grid, int kElements>
INGOT_INLINE Lanes scale_errors(const Group<kElements>& group, Lanes scale) {
    const Lanes inverse = inverse_or_zero(scale);
    Lanes error{};
    for (int i = 0; i < kElements; ++i) {
        const Lanes difference = group.x[i] - Grid::nearest(group.x[i] * inverse) * scale;
        error += group.w[i] * (difference * difference);
    }
    return error;
}

/// The quants for a scale.
template <class Grid, int kElements>
INGOT_INLINE void store_codes(const Group<kElements>& group, float scale, uint8_t* codes) {
    const float inverse = inverse_or_zero(scale);
    for (int i = 0; i < kElements; i += kLanes)
        store_bytes(codes + i, Grid::codes(load(group.x + i) * inverse));
}

/// The element of largest magnitude, with its sign.
INGOT_INLINE float extreme(Range ends) {
    return ends.high >= -ends.low ? ends.high : ends.low;
}

/// The scale that serves the group best when it may be any number. `targets` are the grid positions that the
/// element of largest magnitude is tried at: beyond the grid's end it is clipped and the others gain
/// precision. Each lane tries one, so the sums need no reduction across lanes.
template <class Grid, int kElements, size_t kTargets>
INGOT_INLINE ScaleSums best_scale(const Group<kElements>& group, float extreme_value,
                                  const std::array<float, kTargets>& targets) {
    constexpr int kVectors = kTargets / kLanes;
    static_assert(kTargets % kLanes == 0);
    Lanes inverse[kVectors], xl[kVectors], ll[kVectors];
    for (int k = 0; k < kVectors; ++k) {
        inverse[k] = load(targets.data() + kLanes * k) * (1.0f / extreme_value);
        xl[k] = ll[k] = Lanes{};
    }
    for (int i = 0; i < kElements; ++i)
        for (int k = 0; k < kVectors; ++k) {
            const Lanes level = Grid::nearest(group.x[i] * inverse[k]);
            xl[k] += group.wx[i] * level;
            ll[k] += (group.w[i] * level) * level;
        }

    ScaleSums best;
    float best_gain = 0;
    for (int k = 0; k < kVectors; ++k) {
        const Lanes gain = xl[k] / ll[k] * xl[k];
        for (int lane = 0; lane < kLanes; ++lane)
            if (gain[lane] > best_gain) {
                best_gain = gain[lane];
                best = {xl[k][lane], ll[k][lane]};
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

/// The lane of least value; the first among equals.
INGOT_INLINE int least_lane(Lanes v) {
    int best = 0;
    for (int lane = 1; lane < kLanes; ++lane)
        if (v[lane] < v[best]) best = lane;
    return best;
}

/// The nearest half that is finite.
INGOT_INLINE uint16_t finite_half(float value) {
    constexpr float kLargestHalf = 65504.0f;
    value = value > kLargestHalf ? kLargestHalf : value < -kLargestHalf ? -kLargestHalf : value;
    return float_to_half(value);
}

/// finite_half() for eight floats, back as floats.
INGOT_INLINE Lanes nearest_halves(Lanes v) {
    constexpr int32_t kDropped = 13;  // fraction bits of a float beyond those of a half
    const IntLanes bits = IntLanes(magnitude(v));
    const IntLanes odd = (bits >> kDropped) & 1;
    const Lanes normal = Lanes((bits + ((1 << (kDropped - 1)) - 1) + odd) & ~((1 << kDropped) - 1));
    const Lanes subnormal = (magnitude(v) + 0.5f) - 0.5f;  // leaves multiples of 2^-24
    const Lanes rounded = smaller(magnitude(v) < 0x1p-14f ? subnormal : normal, all(65504.0f));
    return Lanes(IntLanes(rounded) | (IntLanes(v) & INT32_MIN));
}

/// `kLow` values from `first` to `last`, evenly spaced, followed by those of a second range.
template <int kLow, int kHigh>
constexpr std::array<float, kLow + kHigh> two_ranges(float first, float last, float first2, float last2) {
    std::array<float, kLow + kHigh> values{};
    for (int i = 0; i < kLow; ++i) values[i] = first + (last - first) * float(i) / float(kLow - 1);
    for (int i = 0; i < kHigh; ++i)
        values[kLow + i] = first2 + (last2 - first2) * float(i) / float(kHigh - 1);
    return values;
}

}  // namespace ingot::converters::fit

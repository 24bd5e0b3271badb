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
template <class V>
INGOT_INLINE V inverse_or_zero(V scale) {
    return scale != 0.0f ? 1.0f / scale : V{};
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

/// Numbers of candidates that are tried at once, a multiple of kLanes and at most 32.
template <size_t n>
using Candidates = std::array<float, n>;

/// The candidate of least cost; costs are not negative. Such floats are ordered as their bits are, so the
/// number of the candidate takes the place of the lowest five bits: costs that agree in the others count as
/// equal.
template <size_t n>
INGOT_INLINE int least(const Candidates<n>& costs) {
    static_assert(n % kLanes == 0 && n <= 32);
    constexpr IntLanes kNumbers = {0, 1, 2, 3, 4, 5, 6, 7};
    IntLanes best = IntLanes{} + INT32_MAX;
    for (size_t k = 0; k < n; k += kLanes) {
        const IntLanes key = (IntLanes(load(costs.data() + k)) & ~31) | (kNumbers + int(k));
        best = smaller_integers(key, best);
    }
    best = smaller_integers(best, __builtin_shufflevector(best, best, 4, 5, 6, 7, 0, 1, 2, 3));
    best = smaller_integers(best, __builtin_shufflevector(best, best, 2, 3, 0, 1, 6, 7, 4, 5));
    best = smaller_integers(best, __builtin_shufflevector(best, best, 1, 0, 3, 2, 5, 4, 7, 6));
    return best[0] & 31;
}

/// Σ w x²: the error where all values are zero.
template <int kElements>
INGOT_INLINE float squares(const Group<kElements>& group) {
    Lanes total{};
    for (int i = 0; i < kElements; i += kLanes) total += load(group.wx + i) * load(group.x + i);
    return sum(total);
}

/// Σ w (x - scale * level)² with the levels nearest to x / scale: the errors of what a reader decodes.
template <class V, class Grid, int kElements, size_t n>
INGOT_INLINE Candidates<n> scale_errors(const Group<kElements>& group, const Candidates<n>& scales) {
    using W = LanesFor<V, n>;
    constexpr size_t kWidth = sizeof(W) / sizeof(float), kVectors = n / kWidth;
    W scale[kVectors], inverse[kVectors], error[kVectors];
    for (size_t k = 0; k < kVectors; ++k) {
        scale[k] = load<W>(scales.data() + kWidth * k);
        inverse[k] = inverse_or_zero(scale[k]);
        error[k] = W{};
    }
    for (int i = 0; i < kElements; ++i)
        for (size_t k = 0; k < kVectors; ++k) {
            const W scaled = group.x[i] * inverse[k];
            const W miss = scaled - Grid::nearest(scaled);
            error[k] += (group.w[i] * miss) * miss;
        }
    const W with_zeros = squares(group) - W{};
    Candidates<n> errors;
    for (size_t k = 0; k < kVectors; ++k)
        store(errors.data() + kWidth * k, scale[k] != 0.0f ? error[k] * (scale[k] * scale[k]) : with_zeros);
    return errors;
}

/// scale_errors() for eight candidates: each has two lanes, one for the even elements and one for the odd
/// ones. The scales are such that no level is beyond the grid's end.
template <class V, int kElements>
INGOT_INLINE Lanes scale_errors_in_pairs(const Group<kElements>& group, Lanes scales) {
    constexpr int kVectors = 2 * kLanes * sizeof(float) / sizeof(V);
    V inverse[kVectors], error[kVectors];
    each_twice(inverse_or_zero(scales), inverse);
    for (int k = 0; k < kVectors; ++k) error[k] = V{};
    for (int i = 0; i < kElements; i += 2) {
        const V x = load_pair<V>(group.x + i), w = load_pair<V>(group.w + i);
        for (int k = 0; k < kVectors; ++k) {
            const V scaled = x * inverse[k];
            const V miss = scaled - ((scaled + kRound) - kRound);
            error[k] += (w * miss) * miss;
        }
    }
    const Lanes errors = sums_of_pairs(error) * (scales * scales);
    return scales != 0.0f ? errors : all(squares(group));
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
template <class V, class Grid, int kElements, size_t n>
INGOT_INLINE ScaleSums best_scale(const Group<kElements>& group, float extreme_value,
                                  const Candidates<n>& targets) {
    using W = LanesFor<V, n>;
    constexpr size_t kWidth = sizeof(W) / sizeof(float), kVectors = n / kWidth;
    W inverse[kVectors], xl[kVectors], ll[kVectors];
    for (size_t k = 0; k < kVectors; ++k) {
        inverse[k] = load<W>(targets.data() + kWidth * k) * (1.0f / extreme_value);
        xl[k] = ll[k] = W{};
    }
    for (int i = 0; i < kElements; ++i)
        for (size_t k = 0; k < kVectors; ++k) {
            const W level = Grid::nearest(group.x[i] * inverse[k]);
            xl[k] += group.wx[i] * level;
            ll[k] += (group.w[i] * level) * level;
        }

    // The gain is xl² / ll; a candidate whose levels are all zero has none.
    const float most = squares(group);
    Candidates<n> costs, all_xl, all_ll;
    for (size_t k = 0; k < kVectors; ++k) {
        const W gain = ll[k] > 0.0f ? xl[k] / ll[k] * xl[k] : W{};
        store(costs.data() + kWidth * k, larger(most - gain, W{}));
        store(all_xl.data() + kWidth * k, xl[k]);
        store(all_ll.data() + kWidth * k, ll[k]);
    }
    const int first = least(costs);
    ScaleSums best = {all_xl[first], all_ll[first]};
    float best_gain = best.gain();
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

/// nearest_halves() of candidates.
template <size_t n>
INGOT_INLINE Candidates<n> nearest_halves(const Candidates<n>& values) {
    Candidates<n> halves;
    for (size_t k = 0; k < n; k += kLanes) store(halves.data() + k, nearest_halves(load(values.data() + k)));
    return halves;
}

/// A value and its neighbours among halves: `steps` of half a unit in the last place, roughly.
template <size_t n>
INGOT_INLINE Candidates<n> neighbouring_halves(float value, const Candidates<n>& steps) {
    constexpr float kUlp = 0x1p-11f;  // of a half, between this and twice this of its value
    Candidates<n> values;
    for (size_t k = 0; k < n; k += kLanes)
        store(values.data() + k, nearest_halves(value + (value * kUlp) * load(steps.data() + k)));
    return values;
}

/// `kLow` values from `first` to `last`, evenly spaced, followed by those of a second range.
template <int kLow, int kHigh>
constexpr Candidates<kLow + kHigh> two_ranges(float first, float last, float first2, float last2) {
    Candidates<kLow + kHigh> values{};
    for (int i = 0; i < kLow; ++i) values[i] = first + (last - first) * float(i) / float(kLow - 1);
    for (int i = 0; i < kHigh; ++i)
        values[kLow + i] = first2 + (last2 - first2) * float(i) / float(kHigh - 1);
    return values;
}

}  // namespace ingot::converters::fit

#pragma once
// A grid is the set of values that quants stand for, before any scale.
#include <array>
#include <cstdint>

#include "converters/quantize/fit/lanes.h"
#include "format/blocks/iq4_nl.h"

namespace ingot::converters::fit {

/// `n` values from `first` to `last`, evenly spaced, followed by those of a second range.
template <int kFirst, int kSecond>
constexpr std::array<float, kFirst + kSecond> two_ranges(float first, float last, float first2, float last2) {
    std::array<float, kFirst + kSecond> values{};
    for (int i = 0; i < kFirst; ++i) values[i] = first + (last - first) * float(i) / float(kFirst - 1);
    for (int i = 0; i < kSecond; ++i)
        values[kFirst + i] = first2 + (last2 - first2) * float(i) / float(kSecond - 1);
    return values;
}

/// The integers kLow ... kHigh.
template <int kLow, int kHigh>
struct EvenGrid {
    static constexpr int kSmallest = kLow;
    static constexpr int kLargest = kHigh;

    /// The grid value nearest to each lane.
    INGOT_INLINE Lanes nearest(Lanes v) { return round_to_integer(clamp(v, float(kLow), float(kHigh))); }
    /// The quant of a grid value, counted from 0.
    INGOT_INLINE uint8_t code(float value) { return uint8_t(int(value) - kLow); }
    /// The quant of zero.
    static constexpr uint8_t kZeroCode = uint8_t(-kLow);
};

/// The sixteen values of IQ4_NL and IQ4_XS.
struct UnevenGrid {
    static constexpr int kSmallest = kIq4Values[0];
    static constexpr int kLargest = kIq4Values[15];

    /// kCodes[v - kSmallest] is the quant whose value is nearest to the integer v... v + 1/2.
    static constexpr int kHalves = 2 * (kLargest - kSmallest) + 1;
    static constexpr std::array<uint8_t, kHalves> kCodes = [] {
        std::array<uint8_t, kHalves> codes{};
        uint8_t code = 0;
        for (int i = 0; i < kHalves; ++i) {
            // v = kSmallest + i/2 + 1/4: between thresholds, which are multiples of 1/2
            while (code < 15 && 4 * kSmallest + 2 * i + 1 > 2 * (kIq4Values[code] + kIq4Values[code + 1]))
                ++code;
            codes[i] = code;
        }
        return codes;
    }();
    static constexpr std::array<float, kHalves> kNearest = [] {
        std::array<float, kHalves> values{};
        for (int i = 0; i < kHalves; ++i) values[i] = kIq4Values[kCodes[i]];
        return values;
    }();

    INGOT_INLINE Lanes nearest(Lanes v) {
        const Lanes halves = (clamp(v, float(kSmallest), float(kLargest)) - float(kSmallest)) * 2.0f;
        const IntLanes index = __builtin_convertvector(halves, IntLanes);
        Lanes result;
        for (int i = 0; i < kLanes; ++i) result[i] = kNearest[index[i]];
        return result;
    }
    INGOT_INLINE uint8_t code(float value) { return kCodes[2 * (int(value) - kSmallest)]; }
    static constexpr uint8_t kZeroCode = 8;  // stands for 1; there is no zero, its scale must be
};

}  // namespace ingot::converters::fit

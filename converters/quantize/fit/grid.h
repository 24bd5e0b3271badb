#pragma once
// A grid is the set of values that quants stand for, before any scale.
#include <array>
#include <cstdint>

#include "converters/quantize/fit/lanes.h"
#include "format/blocks/iq4_nl.h"

namespace ingot::converters::fit {

/// The integers kLow ... kHigh.
template <int kLow, int kHigh>
struct EvenGrid {
    /// The grid value nearest to each lane.
    template <class V>
    INGOT_INLINE V nearest(V v) {
        return nearest_integer(v, kLow, kHigh);
    }
    /// Their quants, counted from 0.
    INGOT_INLINE IntLanes codes(Lanes v) { return nearest_bits(v, kLow, kHigh) - (kRoundBits + kLow); }
};

/// The sixteen values of IQ4_NL and IQ4_XS.
struct UnevenGrid {
    static constexpr int kLow = kIq4Values[0];
    static constexpr int kHigh = kIq4Values[15];
    /// The borders between values are multiples of 1/2, so a table over halves is exact:
    /// entry i is for kLow + i/2 <= v < kLow + (i+1)/2.
    static constexpr int kHalves = 2 * (kHigh - kLow) + 1;
    static constexpr std::array<uint8_t, kHalves> kCodes = [] {
        std::array<uint8_t, kHalves> codes{};
        uint8_t code = 0;
        for (int i = 0; i < kHalves; ++i) {
            while (code < 15 && 2 * kLow + i >= kIq4Values[code] + kIq4Values[code + 1]) ++code;
            codes[i] = code;
        }
        return codes;
    }();
    static constexpr std::array<float, kHalves> kNearest = [] {
        std::array<float, kHalves> values{};
        for (int i = 0; i < kHalves; ++i) values[i] = kIq4Values[kCodes[i]];
        return values;
    }();

    /// Rounding 2v - 1/2 down to the entry: ties of the rounding lie between entries, where either will do.
    template <class V>
    INGOT_INLINE Integers<V> entries(V v) {
        return nearest_bits(v * 2.0f - 0.5f, 2 * kLow, 2 * kHigh) - (kRoundBits + 2 * kLow);
    }
    template <class V>
    INGOT_INLINE V nearest(V v) {
        const Integers<V> entry = entries(v);
        V result;
        for (size_t i = 0; i < sizeof v / sizeof(float); ++i) result[i] = kNearest[entry[i]];
        return result;
    }
    INGOT_INLINE IntLanes codes(Lanes v) {
        const IntLanes entry = entries(v);
        IntLanes result;
        for (int i = 0; i < kLanes; ++i) result[i] = kCodes[entry[i]];
        return result;
    }
};

/// Twice the values of a four-bit float: 0, 1, 2, 3, 4, 6, 8, 12 and their negatives.
struct Fp4Grid {
    /// How far grid values lie apart around each magnitude.
    template <class V>
    INGOT_INLINE V spacing(V magnitudes) {
        const V four = 4.0f - V{}, two = 2.0f - V{}, one = 1.0f - V{};
        return magnitudes < 4.0f ? one : magnitudes < 8.0f ? two : four;
    }
    template <class V>
    INGOT_INLINE V nearest(V v) {
        const V magnitudes = smaller(magnitude(v), 12.0f - V{});
        const V step = spacing(magnitudes);
        const V level = ((magnitudes / step + kRound) - kRound) * step;
        return v < 0.0f ? -level : level;
    }
    /// Sign, exponent and fraction bits; no zero has a sign.
    INGOT_INLINE IntLanes codes(Lanes v) {
        const Lanes magnitudes = smaller(magnitude(v), all(12.0f));
        const Lanes step = spacing(magnitudes);
        const IntLanes code =
            (IntLanes(magnitudes / step + kRound) - kRoundBits) + (step > 2.0f   ? IntLanes{} + 4
                                                                   : step > 1.0f ? IntLanes{} + 2
                                                                                 : IntLanes{});
        return ((v < 0.0f) & (code > 0)) ? code + 8 : code;
    }
};

}  // namespace ingot::converters::fit

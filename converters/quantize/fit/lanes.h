#pragma once
// Eight floats side by side, and the few operations that the searches need. The compiler lowers them to
// whatever the instruction set has; eight lanes and one order of summation give the same bits on every
// machine. All functions are inlined by force: each search is compiled for several instruction sets (isa.h).
#include <cstdint>
#include <cstring>

namespace ingot::converters::fit {

#define INGOT_INLINE [[gnu::always_inline]] static inline

typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t IntLanes __attribute__((vector_size(32)));
inline constexpr int kLanes = 8;

INGOT_INLINE Lanes all(float value) {
    return Lanes{} + value;
}

INGOT_INLINE Lanes load(const float* source) {
    Lanes lanes;
    std::memcpy(&lanes, source, sizeof lanes);
    return lanes;
}

INGOT_INLINE void store(float* destination, Lanes lanes) {
    std::memcpy(destination, &lanes, sizeof lanes);
}

INGOT_INLINE Lanes smaller(Lanes a, Lanes b) {
    return a < b ? a : b;
}
INGOT_INLINE Lanes larger(Lanes a, Lanes b) {
    return a > b ? a : b;
}
INGOT_INLINE Lanes clamp(Lanes v, float low, float high) {
    return smaller(larger(v, all(low)), all(high));
}

INGOT_INLINE Lanes magnitude(Lanes v) {
    return Lanes(IntLanes(v) & 0x7fffffff);
}

/// To the nearest integer, ties to even, for |v| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
INGOT_INLINE Lanes round_to_integer(Lanes v) {
    constexpr float kNoFraction = 0x1.8p23f;
    return (v + kNoFraction) - kNoFraction;
}

INGOT_INLINE float sum(Lanes v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

INGOT_INLINE float largest(Lanes v) {
    float result = v[0];
    for (int i = 1; i < kLanes; ++i) result = v[i] > result ? v[i] : result;
    return result;
}

INGOT_INLINE float smallest(Lanes v) {
    return -largest(-v);
}

/// The elements that share one scale: values and the weights of their squared errors.
template <int kElements>
struct Group {
    static constexpr int kVectors = kElements / kLanes;
    Lanes x[kVectors];
    Lanes w[kVectors];
};

template <int kElements>
INGOT_INLINE Group<kElements> load_group(const float* x, const float* w) {
    Group<kElements> group;
    for (int i = 0; i < group.kVectors; ++i) {
        group.x[i] = load(x + kLanes * i);
        group.w[i] = load(w + kLanes * i);
    }
    return group;
}

}  // namespace ingot::converters::fit

#pragma once
// Eight floats side by side, or sixteen, and the few operations that the searches need. The compiler lowers
// them to whatever the instruction set has. Everything is inlined by force: each search is compiled for
// several instruction sets (isa.h).
//
// The bits are the same on every machine: sums across the lanes are always of eight in one order, and sixteen
// lanes serve only where each of them tries a candidate of its own.
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ingot::converters::fit {

#define INGOT_INLINE [[gnu::always_inline]] static inline
/// Behind a lambda's parameters: it has no raised target of its own, and vectors that are passed to it would
/// be looked for elsewhere than the caller leaves them.
#define INGOT_INLINE_LAMBDA __attribute__((always_inline))

typedef float Lanes __attribute__((vector_size(32)));
typedef int32_t IntLanes __attribute__((vector_size(32)));
typedef uint8_t ByteLanes __attribute__((vector_size(8)));
inline constexpr int kLanes = 8;

typedef float WideLanes __attribute__((vector_size(64)));
typedef int32_t WideIntLanes __attribute__((vector_size(64)));

/// The integers as wide as a vector of floats.
template <class V>
struct IntegersOf;
template <>
struct IntegersOf<Lanes> {
    using Type = IntLanes;
};
template <>
struct IntegersOf<WideLanes> {
    using Type = WideIntLanes;
};
template <class V>
using Integers = typename IntegersOf<V>::Type;

/// What tries `n` candidates at once: as many of V's lanes as divide them.
template <class V, int n>
using LanesFor = std::conditional_t<n % (sizeof(V) / sizeof(float)) == 0, V, Lanes>;

INGOT_INLINE Lanes all(float value) {
    return value - Lanes{};
}  // minus zero: folds to a broadcast

template <class V = Lanes>
INGOT_INLINE V load(const float* source) {
    V lanes;
    std::memcpy(&lanes, source, sizeof lanes);
    return lanes;
}

/// Two floats, again and again.
template <class V>
INGOT_INLINE V load_pair(const float* source) {
    typedef int64_t Pairs __attribute__((vector_size(sizeof(V))));
    int64_t pair;
    std::memcpy(&pair, source, sizeof pair);
    return V(Pairs{} + pair);
}

template <class V>
INGOT_INLINE void store(float* destination, V lanes) {
    std::memcpy(destination, &lanes, sizeof lanes);
}

template <class V>
INGOT_INLINE V smaller(V a, V b) {
    return a < b ? a : b;
}
template <class V>
INGOT_INLINE V larger(V a, V b) {
    return a > b ? a : b;
}
template <class V>
INGOT_INLINE V magnitude(V v) {
    return V(Integers<V>(v) & 0x7fffffff);
}

/// Each lane beside itself: 0 0 1 1 ... in one vector of sixteen or two of eight.
INGOT_INLINE void each_twice(Lanes v, WideLanes (&twice)[1]) {
    twice[0] = __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
}
INGOT_INLINE void each_twice(Lanes v, Lanes (&twice)[2]) {
    twice[0] = __builtin_shufflevector(v, v, 0, 0, 1, 1, 2, 2, 3, 3);
    twice[1] = __builtin_shufflevector(v, v, 4, 4, 5, 5, 6, 6, 7, 7);
}
/// The other way: sums of neighbours.
INGOT_INLINE Lanes sums_of_pairs(const WideLanes (&v)[1]) {
    return __builtin_shufflevector(v[0], v[0], 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(v[0], v[0], 1, 3, 5, 7, 9, 11, 13, 15);
}
INGOT_INLINE Lanes sums_of_pairs(const Lanes (&v)[2]) {
    return __builtin_shufflevector(v[0], v[1], 0, 2, 4, 6, 8, 10, 12, 14) +
           __builtin_shufflevector(v[0], v[1], 1, 3, 5, 7, 9, 11, 13, 15);
}

/// Of integers. Lane by lane: where these are inlined, the compiler finds the instruction that does it; from
/// a comparison of vectors it would make two, as not every machine has it.
template <class V>
INGOT_INLINE V smaller_integers(V a, V b) {
    V result;
    for (size_t i = 0; i < sizeof a / sizeof(int32_t); ++i) result[i] = a[i] < b[i] ? a[i] : b[i];
    return result;
}
template <class V>
INGOT_INLINE V larger_integers(V a, V b) {
    V result;
    for (size_t i = 0; i < sizeof a / sizeof(int32_t); ++i) result[i] = a[i] > b[i] ? a[i] : b[i];
    return result;
}

/// 1.5 * 2^23: a float this large has no fraction bits, so adding it rounds to the nearest integer (ties to
/// even) and leaves that integer in the low bits.
inline constexpr float kRound = 0x1.8p23f;
inline constexpr int32_t kRoundBits = 0x4b400000;

/// The nearest of the integers low ... high, in the low bits of the lanes, above kRoundBits. Any v but NaN.
template <class V>
INGOT_INLINE Integers<V> nearest_bits(V v, int low, int high) {
    using I = Integers<V>;
    return smaller_integers(larger_integers(I(v + kRound), I{} + (kRoundBits + low)),
                            I{} + (kRoundBits + high));
}

template <class V>
INGOT_INLINE V nearest_integer(V v, int low, int high) {
    return V(nearest_bits(v, low, high)) - kRound;
}

INGOT_INLINE float nearest_integer(float v, int low, int high) {
    v = v < float(low) ? float(low) : v > float(high) ? float(high) : v;
    return (v + kRound) - kRound;
}

INGOT_INLINE float sum(Lanes v) {
    return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

INGOT_INLINE float largest(Lanes v) {
    v = larger(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
    v = larger(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
    v = larger(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
    return v[0];
}

INGOT_INLINE float smallest(Lanes v) {
    return -largest(-v);
}

/// The low byte of each lane.
INGOT_INLINE void store_bytes(uint8_t* destination, IntLanes lanes) {
    const ByteLanes bytes = __builtin_convertvector(lanes, ByteLanes);
    std::memcpy(destination, &bytes, sizeof bytes);
}

/// The elements that share one scale: values, weights of their squared errors, and the products of both.
template <int kElements>
struct Group {
    alignas(32) float x[kElements];
    alignas(32) float w[kElements];
    alignas(32) float wx[kElements];
};

template <int kElements>
INGOT_INLINE void load_group(const float* x, const float* w, Group<kElements>& group) {
    for (int i = 0; i < kElements; i += kLanes) {
        store(group.x + i, load(x + i));
        store(group.w + i, load(w + i));
        store(group.wx + i, load(x + i) * load(w + i));
    }
}

/// The ends of a group's range.
struct Range {
    float low = 0;
    float high = 0;
};

template <int kElements>
INGOT_INLINE Range range(const Group<kElements>& group) {
    Lanes low = load(group.x), high = low;
    for (int i = kLanes; i < kElements; i += kLanes) {
        low = smaller(low, load(group.x + i));
        high = larger(high, load(group.x + i));
    }
    return {smallest(low), largest(high)};
}

}  // namespace ingot::converters::fit

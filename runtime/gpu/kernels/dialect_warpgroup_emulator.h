#pragma once
// Products of warpgroups on the emulator: see emulator/warpgroup.h.
#include <cmath>

#include "runtime/gpu/emulator/warpgroup.h"

#define WARPGROUP_KERNEL(name, Arguments, Members, n_threads_)                                      \
    inline void name##_body(ARGUMENTS(Arguments) a, Thread me, Members& shared);                    \
    inline void name(ARGUMENTS(Arguments) a, Thread me) {                                           \
        static_assert(sizeof(Members) <= ::ingot::runtime::gpu::emulator::GroupMemory::kMostBytes); \
        me.wait_for_last_launch();                                                                  \
        name##_body(a, me, *reinterpret_cast<Members*>(me.group->shared().bytes()));                \
    }                                                                                               \
    inline void name##_body([[maybe_unused]] ARGUMENTS(Arguments) a, Thread me, Members& shared)

namespace ingot::runtime::gpu {

struct WarpgroupNumbers {
    emulator::Register<uint32_t> of[4];
};
template <int n>
struct WarpgroupSums {
    emulator::Register<float> of[n / 2];
};

inline uint64_t swizzled_rows(GROUP(uint32_t) words) {
    const auto address = uint64_t(words.byte());
    return address >> 4 | uint64_t(1) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}
inline uint64_t columns_from(uint64_t rows, int k) {
    return rows + uint64_t(2 * k / 16);
}

inline void begin_products(Thread me) {
    ++me.group->under_way().n_fences;
}
template <int n>
void add_warpgroup_product(bool is_f16, Thread me, WarpgroupNumbers& a, uint64_t rows, WarpgroupSums<n>& sums,
                           bool adds, const std::source_location& where) {
    me.group->add_warpgroup_product({where, rows, n, is_f16, adds, {}, a.of, sums.of});
}
template <int n>
void add_warpgroup_product(F16, Thread me, WarpgroupNumbers& a, uint64_t rows, WarpgroupSums<n>& sums,
                           bool adds, const std::source_location& where = std::source_location::current()) {
    add_warpgroup_product(true, me, a, rows, sums, adds, where);
}
template <int n>
void add_warpgroup_product(BF16, Thread me, WarpgroupNumbers& a, uint64_t rows, WarpgroupSums<n>& sums,
                           bool adds, const std::source_location& where = std::source_location::current()) {
    add_warpgroup_product(false, me, a, rows, sums, adds, where);
}
inline void end_products(Thread me) {
    me.group->commit_products();
}
template <int n_left, int n>
void wait_for_products(Thread me, WarpgroupSums<n>&,
                       const std::source_location& where = std::source_location::current()) {
    me.group->wait_for_products(n_left, where);
}

inline void show_to_products(Thread me) {
    me.group->shared().fence_proxy(me.group->now());
}
inline void end_copies_of_set(Thread me) {
    me.group->commit_copies();
}
template <int n_left>
void wait_for_copies(Thread me) {
    me.group->wait_for_copies(n_left);
}

inline uint32_t copy_of(uint32_t word) {
    return word;
}
inline uint32_t halves_of_bytes(uint32_t word, int i) {
    return 0x64006400u | byte_of(word, 2 * i) | byte_of(word, 2 * i + 1) << 16;
}
// Products of halves are exact as floats; their sum with a third is exact as a double wherever it matters.
inline uint32_t multiply_add_halves(uint32_t a, uint32_t b, uint32_t c) {
    const auto one = [&](int shift) {
        const auto part = [&](uint32_t word) { return double(half_to_float(uint16_t(word >> shift))); };
        const double sum = part(a) * part(b) + part(c);
        // Rounded to odd on the way to a float, so that the second rounding is the only one.
        auto nearest = float(sum);
        if (double(nearest) != sum && std::isfinite(nearest)) {
            uint32_t bits = bits_of(nearest);
            if (std::fabs(double(nearest)) > std::fabs(sum)) --bits;
            nearest = float_of(bits | 1u);
        }
        return uint32_t(float_to_half(nearest)) << shift;
    };
    return one(0) | one(16);
}
inline uint32_t multiply_halves(uint32_t a, uint32_t b) {
    return multiply_add_halves(a, b,
                               0x80008000u);  // minus zero, which keeps the sign of a product that is zero
}
inline uint32_t add_halves(uint32_t a, uint32_t b) {
    return multiply_add_halves(a, 0x3c003c00u, b);  // by one
}

}  // namespace ingot::runtime::gpu

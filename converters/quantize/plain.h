#pragma once
// The passes over floats that a conversion to F16 or BF16 spends its time on, for each instruction set.
#include <cstddef>
#include <cstdint>

namespace ingot::converters::plain {

/// Pure functions of `n` floats at `x`; all instruction sets give the same bits.
struct Passes {
    /// The greatest magnitude's bits. Magnitudes order as their bits do: above 0x7f800000, infinity, are
    /// NaNs.
    uint32_t (*largest_magnitude)(const float* x, uint64_t n);
    /// float_to_half() and float_to_bf16() of each: 2 * n bytes at `destination`.
    void (*to_f16)(const float* x, uint64_t n, std::byte* destination);
    void (*to_bf16)(const float* x, uint64_t n, std::byte* destination);
};

enum class Isa { Baseline, Avx2 };  // Avx2 with F16C: every processor that has the one has the other
/// The best that this machine has.
Isa best_isa();

const Passes& passes(Isa isa = best_isa());

}  // namespace ingot::converters::plain

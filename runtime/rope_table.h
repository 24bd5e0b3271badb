#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace ingot::runtime {

enum class RopeScaling : uint8_t { None, Linear, Yarn, LongRope };

/// How the positions of one kind of layer are rotated.
struct RopeParameters {
    int64_t n_rot = 0;  // rotated elements of each head; even
    float base = 10000;
    RopeScaling scaling = RopeScaling::None;
    float factor = 1;              // context extension: 4 means positions are 4 times as dense
    float attention_factor = 1;    // of the magnitude, beside what the scaling itself asks for
    int64_t original_context = 0;  // positions, before the extension

    // YaRN
    float beta_fast = 32, beta_slow = 1;  // rotations over the original context
    float extrapolation = 1;              // share of the fast pairs that is left as it is
    bool whole_ramp = true;               // the ramp begins and ends at whole pairs
    /// Magnitudes that Deepseek's models take from each other: 1 + 0.1 * multiplier * ln(factor).
    float log_multiplier = 1;      // numerator
    float log_multiplier_all = 0;  // denominator
};

/// Radians per position of each rotated pair (n_rot/2), and the magnitude that goes with them. `factors`
/// (n_rot/2 values or none) divide the frequencies. O(n_rot).
struct RopeTable {
    std::vector<float> frequencies;
    float magnitude = 1;
};
RopeTable rope_table(const RopeParameters& rope, std::span<const float> factors);

/// 1 + 0.1 * multiplier * ln(factor), or 1 for factors up to 1: YaRN's correction for flatter attention.
float yarn_magnitude(float factor, float multiplier);

}  // namespace ingot::runtime

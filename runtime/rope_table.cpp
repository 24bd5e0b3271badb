#include "runtime/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ingot::runtime {
namespace {

// Where YaRN's ramp begins and ends, in pairs (Peng et al. 2023, section 3.2): pairs that turn often within
// the original context keep their frequency, pairs that turn less than once are interpolated.
struct Ramp {
    double begin, end;

    explicit Ramp(const RopeParameters& rope) {
        const auto pair_of_rotations = [&](double rotations) {
            return double(rope.n_rot) *
                   std::log(double(rope.original_context) / (rotations * 2 * std::numbers::pi)) /
                   (2 * std::log(double(rope.base)));
        };
        begin = pair_of_rotations(rope.beta_fast);
        end = pair_of_rotations(rope.beta_slow);
        if (rope.whole_ramp) begin = std::floor(begin), end = std::ceil(end);
        begin = std::max(0.0, begin);
        end = std::min(double(rope.n_rot - 1), end);
    }
    double operator()(double pair) const {
        return std::clamp((pair - begin) / std::max(0.001, end - begin), 0.0, 1.0);
    }
};

}  // namespace

float yarn_magnitude(float factor, float multiplier) {
    return factor <= 1 ? 1.0f : 1.0f + 0.1f * multiplier * std::log(factor);
}

RopeTable rope_table(const RopeParameters& rope, std::span<const float> factors) {
    const int64_t n_pairs = rope.n_rot / 2;
    RopeTable table;
    table.frequencies.resize(size_t(n_pairs));
    table.magnitude = rope.attention_factor;
    if (rope.scaling == RopeScaling::Yarn && rope.extrapolation != 0) {
        table.magnitude *= yarn_magnitude(rope.factor, rope.log_multiplier) /
                           yarn_magnitude(rope.factor, rope.log_multiplier_all);
    }
    const Ramp ramp(rope);
    for (int64_t pair = 0; pair < n_pairs; ++pair) {
        double frequency = std::pow(double(rope.base), -2.0 * double(pair) / double(rope.n_rot));
        if (!factors.empty()) frequency /= double(factors[size_t(pair)]);
        double interpolated = 0;  // share of the stretched frequency
        if (rope.scaling == RopeScaling::Linear) interpolated = 1;
        if (rope.scaling == RopeScaling::Yarn) {
            interpolated = 1 - (1 - ramp(double(pair))) * double(rope.extrapolation);
        }
        frequency *= interpolated / double(rope.factor) + (1 - interpolated);
        table.frequencies[size_t(pair)] = float(frequency);
    }
    return table;
}

}  // namespace ingot::runtime

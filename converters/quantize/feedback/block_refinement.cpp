#include "converters/quantize/feedback/block_refinement.h"

#include <algorithm>
#include <cmath>

#include "format/half.h"

namespace ingot::converters::feedback {

using Vector = Eigen::Map<Eigen::RowVectorXf>;
using ConstVector = Eigen::Map<const Eigen::RowVectorXf>;

BlockRefinement::BlockRefinement(const BlockCodec& codec, const Matrix& moments, BlockParts& parts,
                                 const float* pull, float* steps)
    : codec_(codec), moments_(moments), parts_(parts), steps_(steps) {
    std::copy_n(pull, codec.block_elements, pull_);
}

bool BlockRefinement::sweep() {
    const bool codes = move_codes();
    const bool integers = move_integers();
    const bool units = move_units();
    return codes || integers || units;
}

bool BlockRefinement::move_codes() {
    bool changed = false;
    const BlockGrid grid(codec_, parts_);
    for (int i = 0; i < codec_.block_elements; ++i) {
        uint8_t& code = parts_.codes[size_t(i)];
        const float now = grid.value(i, code), curvature = moments_(i, i);
        const uint8_t next = grid.nearest(i, now + pull_[i] / curvature);
        if (next == code) continue;
        const Slope slope{pull_[i], curvature};
        const float step = grid.value(i, next) - now;
        if (!slope.gains(step)) continue;
        code = next;
        direction_[i] = 1;
        move(step, i, 1);
        changed = true;
    }
    return changed;
}

bool BlockRefinement::move_integers() {
    bool changed = false;
    const float d = half_to_float(parts_.d), dmin = half_to_float(parts_.dmin);
    const int size = codec_.group_elements();
    const auto try_step = [&](int16_t& number, const std::array<int16_t, 2>& range, int first) {
        const Slope along = slope(first, size);
        if (!(along.curvature > 0)) return;
        const double best = std::clamp<double>(std::nearbyint(number + along.best()), range[0], range[1]);
        const double step = best - number;
        if (!along.gains(step)) return;
        number = int16_t(best);
        move(float(step), first, size);
        changed = true;
    };
    for (int group = 0; group < codec_.n_groups; ++group) {
        const int first = group * size;
        if (codec_.scale_range[0] != codec_.scale_range[1]) {
            for (int i = first; i < first + size; ++i)
                direction_[i] = d * float(codec_.levels[parts_.codes[size_t(i)]]);
            try_step(parts_.scales[size_t(group)], codec_.scale_range, first);
        }
        if (codec_.min_range[0] != codec_.min_range[1]) {
            std::fill_n(direction_ + first, size, -dmin);
            try_step(parts_.mins[size_t(group)], codec_.min_range, first);
        }
    }
    return changed;
}

bool BlockRefinement::move_units() {
    bool changed = false;
    const int n = codec_.block_elements, size = codec_.group_elements();
    const auto try_step = [&](uint16_t& unit) {
        const Slope along = slope(0, n);
        if (!(along.curvature > 0)) return;
        const float now = half_to_float(unit);
        const uint16_t best = float_to_half(float(now + along.best()));
        const float step = half_to_float(best) - now;
        if (!std::isfinite(step) || !along.gains(step)) return;
        unit = best;
        move(step, 0, n);
        changed = true;
    };
    for (int i = 0; i < n; ++i)
        direction_[i] = float(parts_.scales[size_t(i / size)] * codec_.levels[parts_.codes[size_t(i)]]);
    try_step(parts_.d);
    if (!codec_.has_dmin) return changed;
    for (int i = 0; i < n; ++i) direction_[i] = -float(parts_.mins[size_t(i / size)]);
    try_step(parts_.dmin);
    return changed;
}

BlockRefinement::Slope BlockRefinement::slope(int first, int count) const {
    const ConstVector v(direction_ + first, count), p(pull_ + first, count);
    return {v.dot(p), (v * moments_.block(first, first, count, count)).dot(v)};
}

void BlockRefinement::move(float step, int first, int count) {
    const int n = codec_.block_elements;
    Vector(steps_ + first, count) += step * ConstVector(direction_ + first, count);
    Vector(pull_, n).noalias() -=
        step * (ConstVector(direction_ + first, count) * moments_.middleRows(first, count));
}

}  // namespace ingot::converters::feedback

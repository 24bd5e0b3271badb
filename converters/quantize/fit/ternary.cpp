// TQ1_0, TQ2_0: blocks of 256 elements under one scale, with three or four levels.
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {
namespace {

constexpr int kElements = 256;

/// What multiple of the scale the element of largest magnitude is. It is clipped to the last level, so that
/// all others are served: 16 steps from 1 (a matrix that is ternary already) to 32 (a lonely outlier).
constexpr std::array<float, 16> targets(float sign) {
    std::array<float, 16> values{};
    float value = sign;
    for (float& target : values) {
        target = value;
        value *= 1.26f;
    }
    return values;
}

struct TQ1_0 {
    using Block = BlockTQ1_0;
    using Grid = EvenGrid<-1, 1>;
    static constexpr auto kTargets = targets(1);
};

/// Two bits have a fourth level, 2: a scale of either sign decides on which side it lies.
struct TQ2_0 {
    using Block = BlockTQ2_0;
    using Grid = EvenGrid<-1, 2>;
    static constexpr auto kTargets = [] {
        std::array<float, 32> both{};
        for (int i = 0; i < 16; ++i) {
            both[2 * i] = targets(1)[i];
            both[2 * i + 1] = targets(-1)[i];
        }
        return both;
    }();
};

template <class Layout>
INGOT_INLINE uint16_t fit_scale(const Group<kElements>& group, float extreme_value) {
    using Grid = typename Layout::Grid;
    const float free = best_scale<Grid>(group, extreme_value, Layout::kTargets).best_scale();
    // Ternary weights have the scale that maps the largest to 1: it must survive whatever else is tried.
    constexpr float kUlp = 0x1p-11f;  // of a half, between this and twice this of its value
    const Lanes steps = {0, -2 * kUlp, -kUlp, kUlp, 2 * kUlp, 0, 0, 0};
    Lanes scales = free + free * steps;
    scales[kLanes - 1] = extreme_value;
    const Lanes halves = nearest_halves(scales);
    return finite_half(halves[least_lane(scale_errors<Grid>(group, halves))]);
}

template <class Layout>
INGOT_INLINE void fit_ternary(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    for (uint64_t b = 0; b < n_blocks; ++b, x += kElements, w += kElements, out += sizeof(Block)) {
        Group<kElements> group;
        load_group(x, w, group);
        const float extreme_value = extreme(range(group));

        Block block{};
        if (extreme_value != 0) block.d = fit_scale<Layout>(group, extreme_value);
        uint8_t codes[kElements];
        store_codes<typename Layout::Grid>(group, half_to_float(block.d), codes);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_tq1_0, fit_ternary<TQ1_0>)
INGOT_FIT(fit_tq2_0, fit_ternary<TQ2_0>)

}  // namespace ingot::converters::fit

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
constexpr Candidates<16> targets(float sign) {
    Candidates<16> values{};
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
        Candidates<32> both{};
        for (int i = 0; i < 16; ++i) {
            both[2 * i] = targets(1)[i];
            both[2 * i + 1] = targets(-1)[i];
        }
        return both;
    }();
};

template <class Layout, class V>
INGOT_INLINE float fit_scale(const Group<kElements>& group, float extreme_value) {
    using Grid = typename Layout::Grid;
    const float free = best_scale<V, Grid>(group, extreme_value, Layout::kTargets).best_scale();
    Candidates<8> halves = neighbouring_halves<8>(free, {0, -2, -1, 1, 2, 0, 0, 0});
    // Ternary weights have the scale that maps the largest to 1: it must survive whatever else is tried.
    halves[7] = nearest_halves(all(extreme_value))[0];
    return halves[least(scale_errors<V, Grid>(group, halves))];
}

template <class Layout, class V>
INGOT_INLINE void fit_ternary(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    for (uint64_t b = 0; b < n_blocks; ++b, x += kElements, w += kElements, out += sizeof(Block)) {
        Group<kElements> group;
        load_group(x, w, group);
        const float extreme_value = extreme(range(group));

        Block block{};
        const float scale = extreme_value != 0 ? fit_scale<Layout, V>(group, extreme_value) : 0.0f;
        block.d = finite_half(scale);
        uint8_t codes[kElements];
        store_codes<typename Layout::Grid>(group, scale, codes);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_tq1_0, fit_ternary, TQ1_0)
INGOT_FIT(fit_tq2_0, fit_ternary, TQ2_0)

}  // namespace ingot::converters::fit

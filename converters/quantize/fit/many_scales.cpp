// Q3_K, Q6_K, IQ4_XS: super-blocks of 256 elements; each group has an integer scale in units of one stored
// half.
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {
namespace {

/// Steps from the integer scale nearest to the free one.
constexpr Candidates<8> kFewSteps = {0, -1, 1, -2, 2, -3, 3, 4};
/// From where the largest element is just clipped to where a sixth of the levels lies idle.
constexpr Candidates<24> kManySteps = {0,  -1, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                       11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};

struct Q3_K {
    using Block = BlockQ3_K;
    using Grid = EvenGrid<-4, 3>;
    static constexpr int kGroups = 16;
    static constexpr int kLeastScale = -32, kMostScale = 31;
    static constexpr auto kTargets = two_ranges<8, 8>(-5.5f, -3.0f, 2.4f, 4.6f);
    static constexpr auto kUnitTargets = two_ranges<8, 8>(-32.0f, -25.0f, 24.0f, 31.0f);
    static constexpr bool kFine = false;
    static constexpr auto kSteps = kFewSteps;
    INGOT_INLINE void pack_scales(const int8_t* scales, Block& block) {
        ingot::pack_scales(scales, block.scales);
    }
};

struct Q6_K {
    using Block = BlockQ6_K;
    using Grid = EvenGrid<-32, 31>;
    static constexpr int kGroups = 16;
    static constexpr int kLeastScale = -128, kMostScale = 127;
    static constexpr float kTarget = -32.49f;  // what the largest element is of its scale, see free_scale()
    static constexpr auto kUnitTargets = two_ranges<4, 4>(105.0f, 107.0f, 109.0f, 111.0f);
    static constexpr bool kFine = true;
    static constexpr auto kSteps = kManySteps;
    INGOT_INLINE void pack_scales(const int8_t* scales, Block& block) {
        std::memcpy(block.scales, scales, sizeof block.scales);
    }
};

struct IQ4_XS {
    using Block = BlockIQ4_XS;
    using Grid = UnevenGrid;
    static constexpr int kGroups = 8;
    static constexpr int kLeastScale = -32, kMostScale = 31;
    static constexpr auto kTargets = two_ranges<12, 12>(-160.0f, -95.0f, 90.0f, 150.0f);
    static constexpr auto kUnitTargets = two_ranges<8, 8>(-32.0f, -25.0f, 24.0f, 31.0f);
    static constexpr bool kFine = false;
    static constexpr auto kSteps = kFewSteps;
    INGOT_INLINE void pack_scales(const int8_t* scales, Block& block) { ingot::pack_scales(scales, block); }
};

/// One choice of the unit and of every group's integer scale, with its squared error.
template <int kGroups>
struct Choice {
    float unit = 0;  // a half
    int8_t scales[kGroups] = {};
    float error = 0;
};

template <class Layout>
struct SuperBlock {
    static constexpr int kGroups = Layout::kGroups;
    static constexpr int kElements = 256 / kGroups;

    Group<kElements> groups[kGroups];
    float scales[kGroups];      // best, or nearly so, when each may be any number
    float curvatures[kGroups];  // Σ w l²: what a miss of one costs
};

/// Least squares with the levels nearest to some scales; where levels are fine, the largest scale that just
/// clips the largest element: among many integer scales from there on the best is found by trying.
template <class Layout, class V>
INGOT_INLINE ScaleSums free_scale(const Group<SuperBlock<Layout>::kElements>& group) {
    const float extreme_value = extreme(range(group));
    if (extreme_value == 0) return {};
    if constexpr (Layout::kFine) {
        const float scale = extreme_value / Layout::kTarget;
        const float ll = squares(group) / (scale * scale);
        return {scale * ll, ll};
    } else {
        return best_scale<V, typename Layout::Grid>(group, extreme_value, Layout::kTargets);
    }
}

/// The unit whose multiples come closest to the free scales; a miss costs its square times Σ w l². Each lane
/// tries one unit.
template <class Layout>
INGOT_INLINE float first_unit(const SuperBlock<Layout>& block, float widest) {
    constexpr size_t n = Layout::kUnitTargets.size();
    Candidates<n> units, costs;
    for (size_t k = 0; k < n; k += kLanes) {
        const Lanes unit = nearest_halves(widest / load(Layout::kUnitTargets.data() + k));
        const Lanes inverse = inverse_or_zero(unit);
        Lanes cost{};
        for (int g = 0; g < block.kGroups; ++g) {
            const Lanes multiple =
                nearest_integer(block.scales[g] * inverse, Layout::kLeastScale, Layout::kMostScale);
            const Lanes miss = block.scales[g] - unit * multiple;
            cost += block.curvatures[g] * (miss * miss);
        }
        store(units.data() + k, unit);
        store(costs.data() + k, cost);
    }
    return units[least(costs)];
}

/// For a stored unit: of the integers `centres[g] + steps`, the one that decodes with the least error.
/// Positive steps lead away from zero.
template <class Layout, class V, size_t n>
INGOT_INLINE Choice<Layout::kGroups> choose_scales(const SuperBlock<Layout>& block, float unit,
                                                   const float* centres, const Candidates<n>& steps) {
    Choice<Layout::kGroups> choice;
    choice.unit = unit;
    for (int g = 0; g < block.kGroups; ++g) {
        const float outwards = centres[g] < 0 ? -1.0f : 1.0f;
        Candidates<n> integers, scales;
        for (size_t k = 0; k < n; k += kLanes) {
            const Lanes integer =
                larger(smaller(centres[g] + outwards * load(steps.data() + k), all(Layout::kMostScale)),
                       all(Layout::kLeastScale));
            store(integers.data() + k, integer);
            store(scales.data() + k, unit * integer);
        }
        const auto errors = scale_errors<V, typename Layout::Grid>(block.groups[g], scales);
        const int best = least(errors);
        choice.scales[g] = int8_t(integers[best]);
        choice.error += errors[best];
    }
    return choice;
}

/// Least squares for the unit, levels and integer scales staying as they are.
template <class Layout>
INGOT_INLINE float refitted_unit(const SuperBlock<Layout>& block, const Choice<Layout::kGroups>& choice) {
    ScaleSums total;
    for (int g = 0; g < block.kGroups; ++g) {
        const float scale = choice.scales[g];
        const ScaleSums sums =
            scale_sums<typename Layout::Grid>(block.groups[g], inverse_or_zero(choice.unit * scale));
        total.xl += scale * sums.xl;
        total.ll += scale * scale * sums.ll;
    }
    return nearest_halves(all(total.best_scale()))[0];
}

template <class Layout, class V>
INGOT_INLINE Choice<Layout::kGroups> fit_super_block(SuperBlock<Layout>& block) {
    float widest = 0;
    for (int g = 0; g < block.kGroups; ++g) {
        const ScaleSums free = free_scale<Layout, V>(block.groups[g]);
        block.scales[g] = free.best_scale();
        block.curvatures[g] = free.ll;
        if (std::fabs(block.scales[g]) > std::fabs(widest)) widest = block.scales[g];
    }
    if (widest == 0) return {};

    // A unit that suits the free scales, then one that suits the levels; a third round gains nothing.
    const float unit = first_unit(block, widest), inverse = inverse_or_zero(unit);
    float centres[Layout::kGroups];
    for (int g = 0; g < block.kGroups; ++g)
        centres[g] = nearest_integer(block.scales[g] * inverse, Layout::kLeastScale, Layout::kMostScale);
    const auto first = choose_scales<Layout, V>(block, unit, centres, Layout::kSteps);
    for (int g = 0; g < block.kGroups; ++g) centres[g] = first.scales[g];
    const auto second = choose_scales<Layout, V>(block, refitted_unit(block, first), centres, kFewSteps);
    return second.error < first.error ? second : first;
}

template <class Layout, class V>
INGOT_INLINE void fit_many_scales(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    constexpr int kElements = SuperBlock<Layout>::kElements;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 256, w += 256, out += sizeof(Block)) {
        SuperBlock<Layout> super;
        for (int g = 0; g < super.kGroups; ++g)
            load_group(x + kElements * g, w + kElements * g, super.groups[g]);
        const auto choice = fit_super_block<Layout, V>(super);

        Block block{};
        block.d = finite_half(choice.unit);
        Layout::pack_scales(choice.scales, block);
        uint8_t codes[256];
        for (int g = 0; g < super.kGroups; ++g)
            store_codes<typename Layout::Grid>(super.groups[g], choice.unit * float(choice.scales[g]),
                                               codes + kElements * g);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q3_k, fit_many_scales, Q3_K)
INGOT_FIT(fit_q6_k, fit_many_scales, Q6_K)
INGOT_FIT(fit_iq4_xs, fit_many_scales, IQ4_XS)

}  // namespace ingot::converters::fit

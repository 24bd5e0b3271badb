// Q3_K, Q6_K, IQ4_XS: super-blocks of 256 elements; each group has an integer scale in units of one stored
// half.
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {
namespace {

struct Q3_K {
    using Block = BlockQ3_K;
    using Grid = EvenGrid<-4, 3>;
    static constexpr int kGroups = 16;
    static constexpr int kLeastScale = -32, kMostScale = 31;
    static constexpr auto kTargets = two_ranges<8, 8>(-5.5f, -3.0f, 2.4f, 4.6f);
    static constexpr auto kUnitTargets = two_ranges<8, 8>(-32.0f, -25.0f, 24.0f, 31.0f);
    INGOT_INLINE void pack_scales(const int8_t* scales, Block& block) {
        ingot::pack_scales(scales, block.scales);
    }
};

struct Q6_K {
    using Block = BlockQ6_K;
    using Grid = EvenGrid<-32, 31>;
    static constexpr int kGroups = 16;
    static constexpr int kLeastScale = -128, kMostScale = 127;
    static constexpr auto kTargets = two_ranges<8, 8>(-34.5f, -30.8f, 29.8f, 33.6f);
    static constexpr auto kUnitTargets = two_ranges<4, 4>(-128.0f, -122.0f, 121.0f, 127.0f);
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
    INGOT_INLINE void pack_scales(const int8_t* scales, Block& block) { ingot::pack_scales(scales, block); }
};

/// One choice of the unit and of every group's integer scale, with its squared error.
template <int kGroups>
struct Choice {
    uint16_t unit = 0;  // half
    int8_t scales[kGroups] = {};
    float error = 0;
};

template <class Layout>
class SuperBlock {
  public:
    static constexpr int kGroups = Layout::kGroups;
    static constexpr int kElements = 256 / kGroups;
    using Grid = typename Layout::Grid;

    INGOT_INLINE Choice<kGroups> fit(const Group<kElements>* groups) {
        float scales[kGroups];  // best when each may be any number
        float curvature[kGroups];
        float widest = 0;
        for (int g = 0; g < kGroups; ++g) {
            const float extreme_value = extreme(range(groups[g]));
            ScaleSums best;
            if (extreme_value != 0) best = best_scale<Grid>(groups[g], extreme_value, Layout::kTargets);
            scales[g] = best.best_scale();
            curvature[g] = best.ll;
            if (std::fabs(scales[g]) > std::fabs(widest)) widest = scales[g];
        }
        if (widest == 0) return {};

        // A unit that suits the free scales, then one that suits the levels; a third round gains nothing.
        const auto first = choose_scales(groups, first_unit(scales, curvature, widest), scales);
        const auto second = choose_scales(groups, refitted_unit(groups, first), scales);
        return second.error < first.error ? second : first;
    }

  private:
    /// The unit whose multiples come closest to the free scales; a miss costs its square times Σ w l². Each
    /// lane tries one unit.
    INGOT_INLINE uint16_t first_unit(const float* scales, const float* curvature, float widest) {
        uint16_t best = 0;
        float best_cost = INFINITY;
        for (size_t k = 0; k < Layout::kUnitTargets.size(); k += kLanes) {
            const Lanes units = nearest_halves(widest / load(Layout::kUnitTargets.data() + k));
            const Lanes inverse = inverse_or_zero(units);
            Lanes cost{};
            for (int g = 0; g < kGroups; ++g) {
                const Lanes multiple =
                    nearest_integer(scales[g] * inverse, Layout::kLeastScale, Layout::kMostScale);
                const Lanes miss = scales[g] - units * multiple;
                cost += curvature[g] * (miss * miss);
            }
            const int lane = least_lane(cost);
            if (cost[lane] < best_cost) {
                best_cost = cost[lane];
                best = finite_half(units[lane]);
            }
        }
        return best;
    }

    /// For a stored unit: the integer scale of each group that decodes with the least error.
    INGOT_INLINE Choice<kGroups> choose_scales(const Group<kElements>* groups, uint16_t unit,
                                               const float* free_scales) {
        Choice<kGroups> choice;
        choice.unit = unit;
        const float value = half_to_float(unit);
        const float inverse = inverse_or_zero(value);
        for (int g = 0; g < kGroups; ++g) {
            const float nearest =
                nearest_integer(free_scales[g] * inverse, Layout::kLeastScale, Layout::kMostScale);
            const Lanes steps = {0, -1, 1, -2, 2, -3, 3, -4};
            const Lanes scales =
                larger(smaller(nearest + steps, all(Layout::kMostScale)), all(Layout::kLeastScale));
            const Lanes errors = scale_errors<Grid>(groups[g], value * scales);
            const int best = least_lane(errors);
            choice.scales[g] = int8_t(scales[best]);
            choice.error += errors[best];
        }
        return choice;
    }

    /// Least squares for the unit, levels and integer scales staying as they are.
    INGOT_INLINE uint16_t refitted_unit(const Group<kElements>* groups, const Choice<kGroups>& choice) {
        const float value = half_to_float(choice.unit);
        ScaleSums total;
        for (int g = 0; g < kGroups; ++g) {
            const float scale = choice.scales[g];
            const ScaleSums sums = scale_sums<Grid>(groups[g], inverse_or_zero(value * scale));
            total.xl += scale * sums.xl;
            total.ll += scale * scale * sums.ll;
        }
        return finite_half(total.best_scale());
    }
};

template <class Layout>
INGOT_INLINE void fit_many_scales(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    using Super = SuperBlock<Layout>;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 256, w += 256, out += sizeof(Block)) {
        Group<Super::kElements> groups[Super::kGroups];
        for (int g = 0; g < Super::kGroups; ++g)
            load_group(x + Super::kElements * g, w + Super::kElements * g, groups[g]);
        Super super;
        const auto choice = super.fit(groups);

        Block block{};
        block.d = choice.unit;
        Layout::pack_scales(choice.scales, block);
        uint8_t codes[256];
        const float unit = half_to_float(choice.unit);
        for (int g = 0; g < Super::kGroups; ++g)
            store_codes<typename Layout::Grid>(groups[g], unit * float(choice.scales[g]),
                                               codes + Super::kElements * g);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q3_k, fit_many_scales<Q3_K>)
INGOT_FIT(fit_q6_k, fit_many_scales<Q6_K>)
INGOT_FIT(fit_iq4_xs, fit_many_scales<IQ4_XS>)

}  // namespace ingot::converters::fit

// Q2_K, Q4_K, Q5_K: super-blocks of 256 elements; each group has an integer scale and an integer minimum, in
// units of two stored halves.
#include "converters/quantize/fit/affine_search.h"
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"

namespace ingot::converters::fit {
namespace {

struct Q2_K {
    using Block = BlockQ2_K;
    static constexpr int kGroups = 16;
    static constexpr int kMost = 3;
    static constexpr int kMostScale = 15;
    static constexpr int kLloydRounds = 2;
    static constexpr auto kEnds = all_pairs({-0.3f, 0.0f, 0.3f, 0.7f}, {-0.3f, 0.0f, 0.3f, 0.7f});
    static constexpr auto kUnitTargets = all_pairs({15.4f, 15.0f, 14.6f, 14.2f, 13.8f, 13.2f, 12.6f, 12.0f},
                                                   {15.4f, 15.0f, 14.6f, 14.2f, 13.8f, 13.2f, 12.6f, 12.0f});
    INGOT_INLINE void pack_scales(const uint8_t* scales, const uint8_t* mins, Block& block) {
        for (int g = 0; g < kGroups; ++g) block.scales[g] = uint8_t(scales[g] | mins[g] << 4);
    }
};

struct Q4_K {
    using Block = BlockQ4_K;
    static constexpr int kGroups = 8;
    static constexpr int kMost = 15;
    static constexpr int kMostScale = 63;
    static constexpr int kLloydRounds = 2;
    static constexpr auto kEnds = all_pairs({-0.3f, 0.1f, 0.6f, 1.2f}, {-0.3f, 0.1f, 0.6f, 1.2f});
    static constexpr auto kUnitTargets =
        all_pairs({63.4f, 63.0f, 62.0f, 61.0f}, {63.4f, 63.0f, 62.0f, 61.0f});
    INGOT_INLINE void pack_scales(const uint8_t* scales, const uint8_t* mins, Block& block) {
        ingot::pack_scales(scales, mins, block.scales);
    }
};

struct Q5_K {
    using Block = BlockQ5_K;
    static constexpr int kGroups = 8;
    static constexpr int kMost = 31;
    static constexpr int kMostScale = 63;
    static constexpr int kLloydRounds = 2;
    static constexpr auto kEnds = all_pairs({-0.3f, 0.1f, 0.6f, 1.2f}, {-0.3f, 0.1f, 0.6f, 1.2f});
    static constexpr auto kUnitTargets =
        all_pairs({63.4f, 63.0f, 62.0f, 61.0f}, {63.4f, 63.0f, 62.0f, 61.0f});
    INGOT_INLINE void pack_scales(const uint8_t* scales, const uint8_t* mins, Block& block) {
        ingot::pack_scales(scales, mins, block.scales);
    }
};

/// The two stored halves.
struct Units {
    uint16_t scale = 0;  // d
    uint16_t min = 0;    // dmin
};

template <int kGroups>
struct Choice {
    Units units;
    uint8_t scales[kGroups] = {};
    uint8_t mins[kGroups] = {};
    float error = 0;
};

template <class Layout>
struct SuperBlock {
    static constexpr int kGroups = Layout::kGroups;
    static constexpr int kElements = 256 / kGroups;
    static constexpr int kMost = Layout::kMost;

    Group<kElements> groups[kGroups];
    GroupSums totals[kGroups];
    Affine free[kGroups];  // best when scales and offsets may be any numbers; offsets are not positive
    float lean[kGroups];   // Σ w l / Σ w: how far the best offset moves when the scale does
};

/// The pair of units under which the rounded scales and minimums cost least; each lane tries one pair. With
/// e = free scale - s and f = free offset + m, a group's squared error grows by e² Σ w l² + 2 e f Σ w l + f²
/// Σ w.
template <class Layout>
INGOT_INLINE Units first_units(const SuperBlock<Layout>& block) {
    float widest = 0, deepest = 0;
    for (const Affine& free : block.free) {
        widest = free.scale > widest ? free.scale : widest;
        deepest = -free.offset > deepest ? -free.offset : deepest;
    }
    constexpr int kMost = Layout::kMostScale;
    Units best;
    float best_cost = INFINITY;
    for (int k = 0; k < Layout::kUnitTargets.kVectors; ++k) {
        const Lanes d = nearest_halves(widest / Layout::kUnitTargets.first(k));
        const Lanes dmin = nearest_halves(deepest / Layout::kUnitTargets.second(k));
        const Lanes inverse_d = inverse_or_zero(d), inverse_dmin = inverse_or_zero(dmin);
        Lanes cost{};
        for (int g = 0; g < block.kGroups; ++g) {
            const Affine& free = block.free[g];
            const Lanes e = free.scale - d * nearest_integer(free.scale * inverse_d, 0, kMost);
            const Lanes offset = free.offset + e * block.lean[g];  // the best once the scale is off by e
            const Lanes f = free.offset + dmin * nearest_integer(-offset * inverse_dmin, 0, kMost);
            cost += e * (e * free.sums.ll + 2.0f * f * free.sums.l) + f * f * block.totals[g].w;
        }
        const int lane = least_lane(cost);
        if (cost[lane] < best_cost) {
            best_cost = cost[lane];
            best = {finite_half(d[lane]), finite_half(dmin[lane])};
        }
    }
    return best;
}

/// For stored units: the integer scale and minimum of each group that decode with the least error.
template <class Layout>
INGOT_INLINE Choice<Layout::kGroups> choose_integers(const SuperBlock<Layout>& block, Units units) {
    Choice<Layout::kGroups> choice;
    choice.units = units;
    const float d = half_to_float(units.scale), dmin = half_to_float(units.min);
    const float inverse_d = inverse_or_zero(d), inverse_dmin = inverse_or_zero(dmin);
    for (int g = 0; g < block.kGroups; ++g) {
        const Affine& free = block.free[g];
        // Around the nearest scale; for each, around the minimum that is best with it.
        const Lanes scale_steps = {0, 0, 0, -1, -1, 1, 1, 0};
        const Lanes min_steps = {0, -1, 1, 0, 1, 0, -1, 2};
        const float middle = nearest_integer(free.scale * inverse_d, 0, Layout::kMostScale);
        const Lanes scales = larger(smaller(middle + scale_steps, all(Layout::kMostScale)), all(0));
        const Lanes offsets = free.offset + (free.scale - d * scales) * block.lean[g];
        const Lanes mins =
            nearest_integer(nearest_integer(-offsets * inverse_dmin, 0, Layout::kMostScale) + min_steps, 0,
                            Layout::kMostScale);
        const Lanes errors = affine_errors<Layout::kMost>(block.groups[g], d * scales, -(dmin * mins));
        const int best = least_lane(errors);
        choice.scales[g] = uint8_t(scales[best]);
        choice.mins[g] = uint8_t(mins[best]);
        choice.error += errors[best];
    }
    return choice;
}

/// Least squares for both units at once, levels and integers staying as they are: with a = scale * level and
/// b = -min the model is x ~ d a + dmin b.
template <class Layout>
INGOT_INLINE Units refitted_units(const SuperBlock<Layout>& block, const Choice<Layout::kGroups>& choice) {
    const float d = half_to_float(choice.units.scale), dmin = half_to_float(choice.units.min);
    float aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int g = 0; g < block.kGroups; ++g) {
        const float scale = choice.scales[g], min = choice.mins[g];
        const LevelSums sums =
            level_sums<Layout::kMost>(block.groups[g], inverse_or_zero(d * scale), -(dmin * min));
        aa += scale * scale * sums.ll;
        ab -= scale * min * sums.l;
        bb += min * min * block.totals[g].w;
        xa += scale * sums.xl;
        xb -= min * block.totals[g].x;
    }
    const float determinant = aa * bb - ab * ab;
    if (determinant > 0)
        return {finite_half((xa * bb - xb * ab) / determinant),
                finite_half((xb * aa - xa * ab) / determinant)};
    return {finite_half(aa > 0 ? xa / aa : 0), finite_half(bb > 0 ? xb / bb : 0)};
}

template <class Layout>
INGOT_INLINE Choice<Layout::kGroups> fit_super_block(SuperBlock<Layout>& block) {
    for (int g = 0; g < block.kGroups; ++g) {
        block.totals[g] = group_sums(block.groups[g]);
        block.free[g] = best_affine<Layout, true>(block.groups[g], block.totals[g], range(block.groups[g]));
        block.lean[g] = block.free[g].sums.l / block.totals[g].w;
    }
    // Units that suit the free scales, then units that suit the levels; a third round gains 0.04 % at most.
    const auto first = choose_integers(block, first_units(block));
    const auto second = choose_integers(block, refitted_units(block, first));
    return second.error < first.error ? second : first;
}

template <class Layout>
INGOT_INLINE void fit_many_affine(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    constexpr int kElements = SuperBlock<Layout>::kElements;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 256, w += 256, out += sizeof(Block)) {
        SuperBlock<Layout> super;
        for (int g = 0; g < super.kGroups; ++g)
            load_group(x + kElements * g, w + kElements * g, super.groups[g]);
        const auto choice = fit_super_block(super);

        Block block{};
        block.d = choice.units.scale;
        block.dmin = choice.units.min;
        Layout::pack_scales(choice.scales, choice.mins, block);
        uint8_t codes[256];
        const float d = half_to_float(block.d), dmin = half_to_float(block.dmin);
        for (int g = 0; g < super.kGroups; ++g)
            store_levels<Layout::kMost>(super.groups[g], d * float(choice.scales[g]),
                                        -(dmin * float(choice.mins[g])), codes + kElements * g);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q2_k, fit_many_affine<Q2_K>)
INGOT_FIT(fit_q4_k, fit_many_affine<Q4_K>)
INGOT_FIT(fit_q5_k, fit_many_affine<Q5_K>)

}  // namespace ingot::converters::fit

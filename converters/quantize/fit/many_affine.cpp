// Q2_K, Q4_K, Q5_K: super-blocks of 256 elements; each group has an integer scale and an integer minimum, in
// units of two stored halves.
#include "converters/quantize/fit/affine_search.h"
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"

namespace ingot::converters::fit {
namespace {

/// How many levels the range is drawn in at its low and its high end.
constexpr Pairs<8> kEightEnds = {{-0.2f, -0.2f, 0.3f, 0.3f, 0.3f, 0.9f, 0.9f, 0.1f},
                                 {-0.2f, 0.3f, -0.2f, 0.3f, 0.9f, 0.3f, 0.9f, 0.1f}};
/// Steps from the nearest scale and from the minimum that is best with it. With many levels each pair of
/// integers rounds the elements another way: trying many gains more than a better place to start from.
constexpr Pairs<8> kFewSteps = {{0, 0, 0, -1, -1, 1, 1, 0}, {0, -1, 1, 0, 1, 0, -1, 2}};
constexpr auto kManySteps = all_pairs({-1.0f, 0.0f, 1.0f, 2.0f, 3.0f, 4.0f}, {0.0f, 1.0f, -1.0f, 2.0f});

struct Q2_K {
    using Block = BlockQ2_K;
    static constexpr int kGroups = 16;
    static constexpr int kMost = 3;
    static constexpr int kMostScale = 15;
    static constexpr int kLloydRounds = 2;
    static constexpr auto kEnds = all_pairs({-0.3f, 0.0f, 0.3f, 0.7f}, {-0.3f, 0.0f, 0.3f, 0.7f});
    static constexpr auto kUnitTargets =
        all_pairs({15.4f, 14.8f, 14.1f, 13.2f}, {15.4f, 15.0f, 14.6f, 14.2f, 13.8f, 13.2f, 12.6f, 12.0f});
    static constexpr auto kSteps = kFewSteps;
    INGOT_INLINE void pack_scales(const uint8_t* scales, const uint8_t* mins, Block& block) {
        for (int g = 0; g < kGroups; ++g) block.scales[g] = uint8_t(scales[g] | mins[g] << 4);
    }
};

struct Q4_K {
    using Block = BlockQ4_K;
    static constexpr int kGroups = 8;
    static constexpr int kMost = 15;
    static constexpr int kMostScale = 63;
    static constexpr int kLloydRounds = 1;
    static constexpr auto kEnds = kEightEnds;
    static constexpr auto kUnitTargets =
        all_pairs({63.4f, 63.0f, 62.0f, 61.0f}, {63.4f, 63.0f, 62.0f, 61.0f});
    static constexpr auto kSteps = kManySteps;
    INGOT_INLINE void pack_scales(const uint8_t* scales, const uint8_t* mins, Block& block) {
        ingot::pack_scales(scales, mins, block.scales);
    }
};

struct Q5_K {
    using Block = BlockQ5_K;
    static constexpr int kGroups = 8;
    static constexpr int kMost = 31;
    static constexpr int kMostScale = 63;
    static constexpr int kLloydRounds = 1;
    static constexpr auto kEnds = kEightEnds;
    static constexpr auto kUnitTargets =
        all_pairs({63.4f, 63.0f, 62.0f, 61.0f}, {63.4f, 63.0f, 62.0f, 61.0f});
    static constexpr auto kSteps = kManySteps;
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
    constexpr size_t n = Layout::kUnitTargets.first.size();
    Candidates<n> all_d, all_dmin, costs;
    for (size_t k = 0; k < n; k += kLanes) {
        const Lanes d = nearest_halves(widest / load(Layout::kUnitTargets.first.data() + k));
        const Lanes dmin = nearest_halves(deepest / load(Layout::kUnitTargets.second.data() + k));
        const Lanes inverse_d = inverse_or_zero(d), inverse_dmin = inverse_or_zero(dmin);
        Lanes cost{};
        for (int g = 0; g < block.kGroups; ++g) {
            const Affine& free = block.free[g];
            const Lanes e = free.scale - d * nearest_integer(free.scale * inverse_d, 0, kMost);
            const Lanes offset = free.offset + e * block.lean[g];  // the best once the scale is off by e
            const Lanes f = free.offset + dmin * nearest_integer(-offset * inverse_dmin, 0, kMost);
            cost += e * (e * free.sums.ll + 2.0f * f * free.sums.l) + f * f * block.totals[g].w;
        }
        store(all_d.data() + k, d);
        store(all_dmin.data() + k, dmin);
        store(costs.data() + k, larger(cost, Lanes{}));
    }
    const int best = least(costs);
    return {finite_half(all_d[best]), finite_half(all_dmin[best])};
}

/// For stored units: of some pairs of integers for each group, the one that decodes with the least error.
/// `place(g, steps, scale, min)` makes scales of steps, and minimums that go with them.
template <class Layout, class V, size_t n, class Place>
INGOT_INLINE Choice<Layout::kGroups> choose_integers(const SuperBlock<Layout>& block, Units units,
                                                     const Pairs<n>& steps, Place place) {
    Choice<Layout::kGroups> choice;
    choice.units = units;
    const float d = half_to_float(units.scale), dmin = half_to_float(units.min);
    for (int g = 0; g < block.kGroups; ++g) {
        Candidates<n> integers, mins, scales, offsets;
        for (size_t k = 0; k < n; k += kLanes) {
            Lanes scale, min;
            place(g, load(steps.first.data() + k), scale, min);
            scale = larger(smaller(scale, all(Layout::kMostScale)), all(0));
            min = larger(smaller(min + load(steps.second.data() + k), all(Layout::kMostScale)), all(0));
            store(integers.data() + k, scale);
            store(mins.data() + k, min);
            store(scales.data() + k, d * scale);
            store(offsets.data() + k, -(dmin * min));
        }
        const auto errors =
            affine_errors<V, Layout::kMost>(block.groups[g], block.totals[g], scales, offsets);
        const int best = least(errors);
        choice.scales[g] = uint8_t(integers[best]);
        choice.mins[g] = uint8_t(mins[best]);
        choice.error += errors[best];
    }
    return choice;
}

/// Around the nearest scale; for each, around the minimum that is best with it.
template <class Layout, class V>
INGOT_INLINE Choice<Layout::kGroups> integers_near_free(const SuperBlock<Layout>& block, Units units) {
    const float d = half_to_float(units.scale);
    const float inverse_d = inverse_or_zero(d), inverse_dmin = inverse_or_zero(half_to_float(units.min));
    return choose_integers<Layout, V>(
        block, units, Layout::kSteps, [&](int g, Lanes steps, Lanes& scale, Lanes& min) INGOT_INLINE_LAMBDA {
            const Affine& free = block.free[g];
            scale = nearest_integer(free.scale * inverse_d, 0, Layout::kMostScale) + steps;
            const Lanes offset = free.offset + (free.scale - d * scale) * block.lean[g];
            min = nearest_integer(-offset * inverse_dmin, 0, Layout::kMostScale);
        });
}

/// Around those of an earlier choice.
template <class Layout, class V>
INGOT_INLINE Choice<Layout::kGroups> integers_near(const SuperBlock<Layout>& block, Units units,
                                                   const Choice<Layout::kGroups>& earlier) {
    return choose_integers<Layout, V>(block, units, kFewSteps,
                                      [&](int g, Lanes steps, Lanes& scale, Lanes& min) INGOT_INLINE_LAMBDA {
                                          scale = float(earlier.scales[g]) + steps;
                                          min = all(earlier.mins[g]);
                                      });
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

template <class Layout, class V>
INGOT_INLINE Choice<Layout::kGroups> fit_super_block(SuperBlock<Layout>& block) {
    for (int g = 0; g < block.kGroups; ++g) {
        block.totals[g] = group_sums(block.groups[g]);
        block.free[g] =
            best_affine<V, Layout, true>(block.groups[g], block.totals[g], range(block.groups[g]));
        block.lean[g] = block.free[g].sums.l / block.totals[g].w;
    }
    // Units that suit the free scales, then units that suit the levels; a third round gains 0.04 % at most.
    const auto first = integers_near_free<Layout, V>(block, first_units(block));
    const auto second = integers_near<Layout, V>(block, refitted_units(block, first), first);
    return second.error < first.error ? second : first;
}

template <class Layout, class V>
INGOT_INLINE void fit_many_affine(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    constexpr int kElements = SuperBlock<Layout>::kElements;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 256, w += 256, out += sizeof(Block)) {
        SuperBlock<Layout> super;
        for (int g = 0; g < super.kGroups; ++g)
            load_group(x + kElements * g, w + kElements * g, super.groups[g]);
        const auto choice = fit_super_block<Layout, V>(super);

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

INGOT_FIT(fit_q2_k, fit_many_affine, Q2_K)
INGOT_FIT(fit_q4_k, fit_many_affine, Q4_K)
INGOT_FIT(fit_q5_k, fit_many_affine, Q5_K)

}  // namespace ingot::converters::fit

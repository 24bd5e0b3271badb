// Q4_1, Q5_1: blocks of 32 elements under one scale and one minimum.
#include "converters/quantize/fit/affine_search.h"
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"

namespace ingot::converters::fit {
namespace {

struct Q4_1 {
    using Block = BlockQ4_1;
    static constexpr int kMost = 15;
    static constexpr int kLloydRounds = 2;
    static constexpr auto kEnds = all_pairs({-0.3f, 0.1f, 0.6f, 1.2f}, {-0.3f, 0.1f, 0.6f, 1.2f});
};

struct Q5_1 {
    using Block = BlockQ5_1;
    static constexpr int kMost = 31;
    static constexpr int kLloydRounds = 2;
    static constexpr auto kEnds = all_pairs({-0.3f, 0.1f, 0.6f, 1.2f}, {-0.3f, 0.1f, 0.6f, 1.2f});
};

template <class Layout, class V>
INGOT_INLINE void fit_one_affine(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 32, w += 32, out += sizeof(Block)) {
        Group<32> group, centred;
        load_group(x, w, group);
        const Range ends = range(group);

        // The search runs around the middle of the range: a group far from zero keeps its digits.
        const float middle = 0.5f * (ends.low + ends.high);
        for (int i = 0; i < 32; i += kLanes) {
            const Lanes moved = load(group.x + i) - middle;
            store(centred.x + i, moved);
            store(centred.w + i, load(group.w + i));
            store(centred.wx + i, load(group.w + i) * moved);
        }
        const GroupSums sums = group_sums(centred);
        const Affine free =
            best_affine<V, Layout, false>(centred, sums, {ends.low - middle, ends.high - middle});

        Block block{};
        // Both numbers are rounded to halves, which moves levels: the neighbours may decode better.
        Candidates<8> scales = neighbouring_halves<8>(free.scale, {0, 0, 0, -1, 1, -1, 1, 0});
        Candidates<8> offsets = neighbouring_halves<8>(free.offset + middle, {0, -1, 1, 0, 0, 1, -1, 0});
        scales[7] = 0;  // when scales are too small for halves
        offsets[7] = nearest_halves(all(sums.x / sums.w + middle))[0];
        const int best = least(affine_errors<V, Layout::kMost>(group, group_sums(group), scales, offsets));
        block.d = finite_half(scales[best]);
        block.min = finite_half(offsets[best]);
        uint8_t codes[32];
        store_levels<Layout::kMost>(group, half_to_float(block.d), half_to_float(block.min), codes);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q4_1, fit_one_affine, Q4_1)
INGOT_FIT(fit_q5_1, fit_one_affine, Q5_1)

}  // namespace ingot::converters::fit

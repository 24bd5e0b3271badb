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

template <class Layout>
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
            best_affine<Layout, false>(centred, sums, {ends.low - middle, ends.high - middle});

        Block block{};
        // Both numbers are rounded to halves, which moves levels: the neighbours may decode better.
        constexpr float kUlp = 0x1p-11f;  // of a half, between this and twice this of its value
        const Lanes scale_steps = {0, 0, 0, -kUlp, kUlp, -kUlp, kUlp, -1};
        const Lanes offset_steps = {0, -kUlp, kUlp, 0, 0, kUlp, -kUlp, 0};
        const float free_offset = free.offset + middle;
        const Lanes scales = nearest_halves(free.scale + free.scale * scale_steps);
        Lanes offsets = free_offset + free_offset * offset_steps;
        offsets[kLanes - 1] =
            sums.x / sums.w + middle;  // beside a scale of zero: when scales are too small for halves
        offsets = nearest_halves(offsets);
        const int best = least_lane(affine_errors<Layout::kMost>(group, scales, offsets));
        block.d = finite_half(scales[best]);
        block.min = finite_half(offsets[best]);
        uint8_t codes[32];
        store_levels<Layout::kMost>(group, half_to_float(block.d), half_to_float(block.min), codes);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q4_1, fit_one_affine<Q4_1>)
INGOT_FIT(fit_q5_1, fit_one_affine<Q5_1>)

}  // namespace ingot::converters::fit

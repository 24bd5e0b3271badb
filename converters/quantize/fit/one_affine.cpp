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
    static constexpr float kBelow[] = {-0.3f, 0.0f, 0.3f, 0.7f, 1.2f};
    static constexpr float kAbove[] = {-0.3f, 0.0f, 0.3f, 0.7f, 1.2f};
};

struct Q5_1 {
    using Block = BlockQ5_1;
    static constexpr int kMost = 31;
    static constexpr float kBelow[] = {-0.3f, 0.0f, 0.3f, 0.7f, 1.2f};
    static constexpr float kAbove[] = {-0.3f, 0.0f, 0.3f, 0.7f, 1.2f};
};

template <class Layout>
INGOT_INLINE void fit_one_affine(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 32, w += 32, out += sizeof(Block)) {
        auto group = load_group<32>(x, w);
        const Range ends = range(group);

        // The search runs around the middle of the range: a group far from zero keeps its digits.
        const float middle = 0.5f * (ends.low + ends.high);
        Group<32> centred = group;
        for (int i = 0; i < group.kVectors; ++i) centred.x[i] -= middle;
        const Affine free = best_affine<Layout, false>(centred, {ends.low - middle, ends.high - middle});

        Block block{};
        block.d = finite_half(free.scale);
        const float scale = half_to_float(block.d);
        // Two neighbours of the stored minimum: its rounding may weigh more than that of the scale.
        const uint16_t nearest = finite_half(free.offset + middle);
        float best_error = INFINITY;
        for (const int step : {0, -1, 1}) {
            const uint16_t min = uint16_t(nearest + step);
            if ((min & 0x7fff) > 0x7bff) continue;
            const float error = affine_error<Layout::kMost>(group, scale, half_to_float(min));
            if (error < best_error) {
                best_error = error;
                block.min = min;
            }
        }
        uint8_t codes[32];
        store_levels<Layout::kMost>(group, scale, half_to_float(block.min), codes);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q4_1, fit_one_affine<Q4_1>)
INGOT_FIT(fit_q5_1, fit_one_affine<Q5_1>)

}  // namespace ingot::converters::fit

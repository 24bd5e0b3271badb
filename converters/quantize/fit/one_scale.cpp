// Q4_0, Q5_0, Q8_0, IQ4_NL: blocks of 32 elements under one scale.
#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {
namespace {

struct Q4_0 {
    using Block = BlockQ4_0;
    using Grid = EvenGrid<-8, 7>;
    static constexpr auto kTargets = two_ranges<16, 12>(-11.0f, -6.5f, 6.0f, 9.5f);
};

struct Q5_0 {
    using Block = BlockQ5_0;
    using Grid = EvenGrid<-16, 15>;
    static constexpr auto kTargets = two_ranges<14, 12>(-20.0f, -14.0f, 13.5f, 18.5f);
};

/// -128 is left unused: readers that take the magnitude of a quant in eight bits would stumble over it.
struct Q8_0 {
    using Block = BlockQ8_0;
    using Grid = EvenGrid<-127, 127>;
    static constexpr auto kTargets = two_ranges<4, 4>(126.0f, 127.0f, 127.25f, 128.0f);
};

struct IQ4_NL {
    using Block = BlockIQ4_NL;
    using Grid = UnevenGrid;
    static constexpr auto kTargets = two_ranges<14, 14>(-160.0f, -95.0f, 90.0f, 150.0f);
};

template <class Layout>
INGOT_INLINE void fit_one_scale(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    using Grid = typename Layout::Grid;
    for (uint64_t b = 0; b < n_blocks; ++b, x += 32, w += 32, out += sizeof(Block)) {
        const auto group = load_group<32>(x, w);
        const float extreme_value = extreme(group);

        Block block{};
        uint8_t codes[32];
        float scale = 0;
        if (extreme_value != 0) {
            const ScaleSums free = best_scale<Grid>(group, extreme_value, Layout::kTargets);
            block.d = finite_half(free.best_scale());
            scale = half_to_float(block.d);
            // The stored scale moves some levels, and those want a slightly different scale: a few
            // neighbours.
            float error = scale_error<Grid>(group, scale);
            for (const int step : {-2, -1, 1, 2}) {
                const uint16_t neighbour = uint16_t(block.d + step);
                if ((neighbour & 0x7fff) > 0x7bff) continue;
                const float neighbour_error = scale_error<Grid>(group, half_to_float(neighbour));
                if (neighbour_error < error) {
                    error = neighbour_error;
                    scale = half_to_float(neighbour);
                }
            }
            block.d = float_to_half(scale);
        }
        store_codes<Grid>(group, scale, codes);
        pack_codes(codes, block);
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_q4_0, fit_one_scale<Q4_0>)
INGOT_FIT(fit_q5_0, fit_one_scale<Q5_0>)
INGOT_FIT(fit_q8_0, fit_one_scale<Q8_0>)
INGOT_FIT(fit_iq4_nl, fit_one_scale<IQ4_NL>)

}  // namespace ingot::converters::fit

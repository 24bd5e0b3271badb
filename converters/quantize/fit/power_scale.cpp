// MXFP4: blocks of 32 four-bit floats under a power of two.
#include <bit>

#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {
namespace {

struct MXFP4 {
    using Block = BlockMXFP4;
    using Grid = Fp4Grid;
};

/// Powers of two whose inverse is a normal float too. Twice the four-bit floats are integers (see mxfp4.h).
constexpr int kLeastExponent = 3, kMostExponent = 253;

INGOT_INLINE float power(int exponent) {
    return std::bit_cast<float>(uint32_t(exponent - 1) << 23);  // 2^(exponent - 128)
}

template <class Grid, class V>
INGOT_INLINE int fit_exponent(const Group<32>& group, float largest_magnitude) {
    // 8 <= largest / power < 16 decides on an exponent. One more serves the largest element better and the
    // others worse; fewer clip it.
    const int fitting = int(std::bit_cast<uint32_t>(largest_magnitude) >> 23) + 1 - 3;
    const IntLanes steps = {0, 1, -1, -2, -3, -4, -5, -6};
    IntLanes exponents = fitting + steps;
    exponents = exponents > kLeastExponent ? exponents : IntLanes{} + kLeastExponent;
    exponents = exponents < kMostExponent ? exponents : IntLanes{} + kMostExponent;
    Candidates<8> scales;
    store(scales.data(), Lanes((exponents - 1) << 23));
    return exponents[least(scale_errors<V, Grid>(group, scales))];
}

template <class Layout, class V>
INGOT_INLINE void fit_power_scale(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    for (uint64_t b = 0; b < n_blocks; ++b, x += 32, w += 32, out += sizeof(typename Layout::Block)) {
        Group<32> group;
        load_group(x, w, group);
        const float largest_magnitude = std::fabs(extreme(range(group)));

        typename Layout::Block block{};
        if (largest_magnitude != 0) {
            block.exponent = uint8_t(fit_exponent<typename Layout::Grid, V>(group, largest_magnitude));
            uint8_t codes[32];
            store_codes<typename Layout::Grid>(group, power(block.exponent), codes);
            pack_codes(codes, block);
        }
        std::memcpy(out, &block, sizeof block);
    }
}

}  // namespace

INGOT_FIT(fit_mxfp4, fit_power_scale, MXFP4)

}  // namespace ingot::converters::fit

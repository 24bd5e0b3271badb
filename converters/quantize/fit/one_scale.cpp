// Q4_0, Q5_0, Q8_0, IQ4_NL: blocks of 32 elements under one scale.
#include <type_traits>

#include "converters/quantize/fit/isa.h"
#include "converters/quantize/fit/layouts.h"
#include "converters/quantize/fit/pack.h"
#include "converters/quantize/fit/scale_search.h"

namespace ingot::converters::fit {
namespace {

// Ranges of targets: measured on gaussian and trained weights, a wider range or more targets gain nothing.
struct Q4_0 {
    using Block = BlockQ4_0;
    using Grid = EvenGrid<-8, 7>;
    static constexpr auto kTargets = two_ranges<12, 12>(-11.0f, -6.5f, 6.0f, 9.5f);
};

struct Q5_0 {
    using Block = BlockQ5_0;
    using Grid = EvenGrid<-16, 15>;
    static constexpr auto kTargets = two_ranges<12, 12>(-20.0f, -14.5f, 13.5f, 18.5f);
};

struct IQ4_NL {
    using Block = BlockIQ4_NL;
    using Grid = UnevenGrid;
    static constexpr auto kTargets = two_ranges<12, 12>(-160.0f, -95.0f, 90.0f, 150.0f);
};

/// -128 is left unused: readers that take the magnitude of a quant in eight bits would stumble over it.
struct Q8_0 {
    using Block = BlockQ8_0;
    using Grid = EvenGrid<-127, 127>;
};

/// Halves to choose the scale from. What is best for levels fitted to an unrounded scale is not so for the
/// levels that the stored one leads to, so eight are tried.
template <class Layout, class V>
INGOT_INLINE Candidates<8> candidates(const Group<32>& group, float extreme_value) {
    using Grid = typename Layout::Grid;
    if constexpr (std::is_same_v<Layout, Q8_0>) {
        // With 255 levels there is nothing to gain from clipping more than half a level.
        const Lanes shares = {1 / 127.0f,  1 / 126.4f,  1 / 126.6f, 1 / 126.75f,
                              1 / 126.85f, 1 / 127.15f, 1 / 127.3f, 1 / 127.4f};
        Candidates<8> halves;
        store(halves.data(), nearest_halves(extreme_value * shares));
        return halves;
    } else {
        const float free = best_scale<V, Grid>(group, extreme_value, Layout::kTargets).best_scale();
        return neighbouring_halves<8>(free, {0, -3, -2, -1, 1, 2, 3, 4});
    }
}

/// The candidate that decodes with the least error.
template <class Layout, class V>
INGOT_INLINE float best_of(const Group<32>& group, const Candidates<8>& halves) {
    if constexpr (std::is_same_v<Layout, Q8_0>) {
        Candidates<8> errors;
        store(errors.data(), scale_errors_in_pairs<V>(group, load(halves.data())));
        return halves[least(errors)];
    } else {
        return halves[least(scale_errors<V, typename Layout::Grid>(group, halves))];
    }
}

/// Each step of a block waits for the one before it: so each is taken for eight blocks, which don't wait for
/// each other.
template <class Layout, class V>
INGOT_INLINE void fit_one_scale(const float* x, const float* w, uint64_t n_blocks, std::byte* out) {
    using Block = typename Layout::Block;
    constexpr uint64_t kAtOnce = 8;
    Group<32> groups[kAtOnce];
    Candidates<8> halves[kAtOnce];
    float extremes[kAtOnce], scales[kAtOnce];
    for (uint64_t first = 0; first < n_blocks; first += kAtOnce) {
        const uint64_t n = n_blocks - first < kAtOnce ? n_blocks - first : kAtOnce;
        for (uint64_t b = 0; b < n; ++b, x += 32, w += 32) {
            load_group(x, w, groups[b]);
            extremes[b] = extreme(range(groups[b]));
        }
        for (uint64_t b = 0; b < n; ++b)
            if (extremes[b] != 0) halves[b] = candidates<Layout, V>(groups[b], extremes[b]);
        for (uint64_t b = 0; b < n; ++b)
            scales[b] = extremes[b] != 0 ? best_of<Layout, V>(groups[b], halves[b]) : 0.0f;
        for (uint64_t b = 0; b < n; ++b, out += sizeof(Block)) {
            Block block{};
            block.d = finite_half(scales[b]);
            uint8_t codes[32];
            store_codes<typename Layout::Grid>(groups[b], scales[b], codes);
            pack_codes(codes, block);
            std::memcpy(out, &block, sizeof block);
        }
    }
}

}  // namespace

INGOT_FIT(fit_q4_0, fit_one_scale, Q4_0)
INGOT_FIT(fit_q5_0, fit_one_scale, Q5_0)
INGOT_FIT(fit_q8_0, fit_one_scale, Q8_0)
INGOT_FIT(fit_iq4_nl, fit_one_scale, IQ4_NL)

}  // namespace ingot::converters::fit

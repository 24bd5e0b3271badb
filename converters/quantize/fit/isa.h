#pragma once
// Each search is written once, as an always-inlined template, and compiled here for every instruction set
// that is worth it. Only the entry carries the raised target, so no shared inline function is compiled with
// it. The results are the same bits: the searches ask for no fused multiply-adds and fix their order of
// summation.
#include "converters/quantize/fit/fit.h"
#include "converters/quantize/fit/lanes.h"

namespace ingot::converters::fit {

#define INGOT_FIT_FOR(target_, function, search, layout, lanes)                                          \
    target_ static void function(const float* x, const float* w, uint64_t n_blocks, std::byte* blocks) { \
        search<layout, lanes>(x, w, n_blocks, blocks);                                                   \
    }

/// INGOT_FIT(name, search, layout): defines Fit name(Isa), which is search<layout, V> with the lanes V that
/// try candidates.
#if defined(__x86_64__)
#define INGOT_FIT(name, search, layout)                                                                 \
    INGOT_FIT_FOR(, name##_baseline, search, layout, Lanes)                                             \
    INGOT_FIT_FOR([[gnu::target("avx2")]], name##_avx2, search, layout, Lanes)                          \
    INGOT_FIT_FOR([[gnu::target("avx512f,avx512bw,avx512dq,avx512vl")]], name##_avx512, search, layout, \
                  WideLanes)                                                                            \
    Fit name(Isa isa) {                                                                                 \
        return isa == Isa::Avx512 ? name##_avx512 : isa == Isa::Avx2 ? name##_avx2 : name##_baseline;   \
    }
#else
#define INGOT_FIT(name, search, layout)                     \
    INGOT_FIT_FOR(, name##_baseline, search, layout, Lanes) \
    Fit name(Isa) {                                         \
        return name##_baseline;                             \
    }
#endif

}  // namespace ingot::converters::fit

#pragma once
// Each search is written once, as an always-inlined template, and compiled here for every instruction set
// that is worth it. Only the entry carries the raised target, so no shared inline function is compiled with
// it. The results are the same bits: the searches ask for no fused multiply-adds and fix their order of
// summation.
#include "converters/quantize/fit/fit.h"
#include "converters/quantize/fit/lanes.h"

namespace ingot::converters::fit {

#if defined(__x86_64__)
#define INGOT_FIT(name, ...)                                                                    \
    static void name##_any(const float* x, const float* w, uint64_t n, std::byte* out) {        \
        __VA_ARGS__(x, w, n, out);                                                              \
    }                                                                                           \
    [[gnu::target("avx2")]] static void name##_avx2(const float* x, const float* w, uint64_t n, \
                                                    std::byte* out) {                           \
        __VA_ARGS__(x, w, n, out);                                                              \
    }                                                                                           \
    Fit name() {                                                                                \
        return __builtin_cpu_supports("avx2") ? name##_avx2 : name##_any;                       \
    }
#else
#define INGOT_FIT(name, ...)                                                             \
    static void name##_any(const float* x, const float* w, uint64_t n, std::byte* out) { \
        __VA_ARGS__(x, w, n, out);                                                       \
    }                                                                                    \
    Fit name() {                                                                         \
        return name##_any;                                                               \
    }
#endif

}  // namespace ingot::converters::fit

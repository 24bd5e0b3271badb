#include "converters/quantize/plain.h"

#include <cstring>

#include "format/half.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace ingot::converters::plain {

namespace {

// Written once, compiled for each instruction set: only the entries below carry a raised target, and what
// they call is inlined by force, so that no shared function is compiled with it.
#define INGOT_INLINE [[gnu::always_inline]] static inline

INGOT_INLINE uint32_t largest_magnitude(const float* x, uint64_t n) {
    int32_t largest = 0;  // signed, because SSE2 compares no others
    for (uint64_t i = 0; i < n; ++i) {
        const int32_t magnitude = __builtin_bit_cast(int32_t, x[i]) & 0x7fffffff;
        largest = magnitude > largest ? magnitude : largest;
    }
    return uint32_t(largest);
}

template <uint16_t (*convert)(float)>
INGOT_INLINE void to_16_bits(const float* x, uint64_t n, std::byte* destination) {
    for (uint64_t i = 0; i < n; ++i) {
        const uint16_t bits = convert(x[i]);
        std::memcpy(destination + 2 * i, &bits, sizeof bits);
    }
}

constexpr Passes kBaseline{
    [](const float* x, uint64_t n) { return largest_magnitude(x, n); },
    [](const float* x, uint64_t n, std::byte* destination) { to_16_bits<float_to_half>(x, n, destination); },
    [](const float* x, uint64_t n, std::byte* destination) { to_16_bits<float_to_bf16>(x, n, destination); },
};

#if defined(__x86_64__)

[[gnu::target("avx2")]] uint32_t largest_magnitude_avx2(const float* x, uint64_t n) {
    return largest_magnitude(x, n);
}

[[gnu::target("avx2,f16c")]] void to_f16_avx2(const float* x, uint64_t n, std::byte* destination) {
    const uint64_t n_vectors = n / 8;
    for (uint64_t i = 0; i < n_vectors; ++i) {
        const __m128i halves = _mm256_cvtps_ph(_mm256_loadu_ps(x + 8 * i), _MM_FROUND_TO_NEAREST_INT);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(destination + 16 * i), halves);
    }
    to_16_bits<float_to_half>(x + 8 * n_vectors, n % 8, destination + 16 * n_vectors);
}

[[gnu::target("avx2")]] void to_bf16_avx2(const float* x, uint64_t n, std::byte* destination) {
    to_16_bits<float_to_bf16>(x, n, destination);
}

constexpr Passes kAvx2{largest_magnitude_avx2, to_f16_avx2, to_bf16_avx2};

#endif

}  // namespace

Isa best_isa() {
#if defined(__x86_64__)
    static const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
    if (has_avx2) return Isa::Avx2;
#endif
    return Isa::Baseline;
}

const Passes& passes([[maybe_unused]] Isa isa) {
#if defined(__x86_64__)
    if (isa == Isa::Avx2) return kAvx2;
#endif
    return kBaseline;
}

}  // namespace ingot::converters::plain

#pragma once
// Elements of a cache of keys or values, of which a position's may end anywhere. Everything here is static:
// see runtime/cpu/tiles.h.
#include "format/blocks/q8_0.h"
#include "runtime/cpu/avx512/layouts_plain.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

// Each loads 16 elements from the i-th on, or the n ≥ 1 that there are and zeros.

template <typename Layout>
struct CachedFloats {
    INGOT_INLINE __m512 load(const void* from, int64_t i, int64_t n) {
        return Layout::load(lanes(n), static_cast<const uint8_t*>(from), i);
    }
};
using CachedF16 = CachedFloats<F16>;
using CachedF32 = CachedFloats<F32>;
using CachedBF16 = CachedFloats<BF16>;

struct CachedQ8_0 {  // heads are whole blocks
    INGOT_INLINE __m512 load(const void* from, int64_t i, int64_t) {
        const BlockQ8_0& block = static_cast<const BlockQ8_0*>(from)[i / 32];
        const auto* quants = reinterpret_cast<const __m128i*>(block.quants + i % 32);
        return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(quants))),
                             _mm512_set1_ps(_cvtsh_ss(block.d)));
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

#pragma once
// The layouts with super-blocks of 256 elements, taken apart into unsigned bytes u and integer scales, with
// w = d * scale[s] * (u - zero) - dmin * min[s], s = i / 16.
#include <cstddef>

#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

// A super-block taken apart. Vector k of quants holds elements 64k … 64k + 63.
struct Parts {
    __m512i quants[4];  // u, unsigned bytes
    __m256i scales;     // 16-bit, at their scale_place
    __m256i minimums;   // 16-bit, one for each 16 elements; only of layouts that have them
    __m512 d;           // of scales, in all lanes
    __m512 dmin;        // of minimums, where they have a factor of their own
};

INGOT_INLINE __m512i load_twice(const uint8_t* bytes) {  // 32 bytes, in both halves
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
}

// Different shifts of the two halves, in bits. Bits cross into neighbouring bytes: mask afterwards.
INGOT_INLINE __m512i shift_right(__m512i x, long long low, long long high) {
    return _mm512_srlv_epi64(x, _mm512_set_epi64(high, high, high, high, low, low, low, low));
}
INGOT_INLINE __m512i shift_left(__m512i x, long long low, long long high) {
    return _mm512_sllv_epi64(x, _mm512_set_epi64(high, high, high, high, low, low, low, low));
}
// (x & mask) | y
INGOT_INLINE __m512i and_or(__m512i x, __m512i mask, __m512i y) {
    return _mm512_ternarylogic_epi64(x, mask, y, 0xea);
}

// Where the scale of a group of 16 elements stands in Parts::scales.
template <typename Layout>
constexpr int scale_place(int group) {
    if (Layout::kGroup == 16) return group;
    return group / 2 + (group / 2 & 4);  // those of minimums stand between them
}

// The scale of each pair of elements in vector k, 16-bit: a 128-bit lane for each 16 elements.
template <typename Layout>
INGOT_INLINE __m512i scales_of_pairs(const Parts& parts, int k) {
    const auto lane = [k](int i) { return 0x0001000100010001 * scale_place<Layout>(4 * k + i); };
    const __m512i index =
        _mm512_set_epi64(lane(3), lane(3), lane(2), lane(2), lane(1), lane(1), lane(0), lane(0));
    return _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(parts.scales));
}

// What Q4_K and Q5_K share: 8 scales and 8 minimums of 6 bits (see unpack_scales in format/blocks/q4_k.h). In
// integer registers, 8 bytes at a time: the units of vectors have more to do.
INGOT_INLINE void take_scales_apart(const uint8_t (&packed)[12], Parts& parts) {
    uint64_t low;       // 6 bits of scales and minimums 0 … 3, and above them 2 bits of 4 … 7
    uint32_t low_of_4;  // 4 bits of scales and, above them, of minimums 4 … 7
    __builtin_memcpy(&low, packed, sizeof low);
    __builtin_memcpy(&low_of_4, packed + 8, sizeof low_of_4);
    const uint64_t spread = (low_of_4 | uint64_t(low_of_4) << 28) & 0x0f0f0f0f0f0f0f0f;
    const uint64_t high = spread | (low >> 2 & 0x3030303030303030);
    const __m256i numbers = _mm256_cvtepu8_epi16(
        _mm_set_epi64x(int64_t(high), int64_t(low & 0x3f3f3f3f3f3f3f3f)));  // scales 0 … 3, minimums 0 … 3, …
    parts.scales = numbers;
    parts.minimums = _mm256_permutexvar_epi16(
        _mm256_setr_epi16(4, 4, 5, 5, 6, 6, 7, 7, 12, 12, 13, 13, 14, 14, 15, 15), numbers);
}

// d and dmin, two halves one behind the other.
INGOT_INLINE void take_factors(const void* d_and_dmin, Parts& parts) {
    int32_t both;
    __builtin_memcpy(&both, d_and_dmin, sizeof both);
    const __m128 factors = _mm_cvtph_ps(_mm_cvtsi32_si128(both));
    parts.d = _mm512_broadcastss_ps(factors);
    parts.dmin = _mm512_broadcastss_ps(_mm_movehdup_ps(factors));
}

struct Q2_K {
    using Block = BlockQ2_K;
    static constexpr int kGroup = 16;  // elements that share a scale
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ2_K& block, Parts& parts) {
        const __m512i three = _mm512_set1_epi8(3);
        for (int half = 0; half < 2; ++half) {
            const __m512i bytes = load_twice(block.quants + 32 * half);
            parts.quants[2 * half] = _mm512_and_si512(shift_right(bytes, 0, 2), three);
            parts.quants[2 * half + 1] = _mm512_and_si512(shift_right(bytes, 4, 6), three);
        }
        const __m256i both =
            _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales)));
        parts.scales = _mm256_and_si256(both, _mm256_set1_epi16(0xf));
        parts.minimums = _mm256_srli_epi16(both, 4);
        take_factors(&block.d, parts);
    }
};

struct Q3_K {
    using Block = BlockQ3_K;
    static constexpr int kGroup = 16;  // elements that share a scale
    static constexpr int kZero = 4;
    static constexpr bool kHasMin = false;
    INGOT_INLINE void take_apart(const BlockQ3_K& block, Parts& parts) {
        const __m512i three = _mm512_set1_epi8(3);
        const __m512i four = _mm512_set1_epi8(4);
        const __m512i high = load_twice(block.high_bits);  // bit b is bit 2 of u[32b + l]
        const __m512i low_0 = load_twice(block.quants);
        const __m512i low_1 = load_twice(block.quants + 32);
        parts.quants[0] =
            and_or(shift_left(high, 2, 1), four, _mm512_and_si512(shift_right(low_0, 0, 2), three));
        parts.quants[1] =
            and_or(shift_right(high, 0, 1), four, _mm512_and_si512(shift_right(low_0, 4, 6), three));
        parts.quants[2] =
            and_or(shift_right(high, 2, 3), four, _mm512_and_si512(shift_right(low_1, 0, 2), three));
        parts.quants[3] =
            and_or(shift_right(high, 4, 5), four, _mm512_and_si512(shift_right(low_1, 4, 6), three));
        // The 16 scales of 6 bits, plus 32: see unpack_scales in format/blocks/q3_k.h. With the 12 bytes as
        // words of 32 bits, they are, 4 to a word, (w0 & 0f) | (w2 << 4 & 30), (w1 & 0f) | (w2 << 2 & 30),
        // (w0 >> 4 & 0f) | (w2 & 30), (w1 >> 4 & 0f) | (w2 >> 2 & 30). The 16 bytes that end with d hold
        // them.
        static_assert(offsetof(BlockQ3_K, scales) + 14 == sizeof(BlockQ3_K));
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales - 2));
        const __m128i low = _mm_srlv_epi32(
            _mm_shuffle_epi8(bytes, _mm_setr_epi32(0x05040302, 0x09080706, 0x05040302, 0x09080706)),
            _mm_setr_epi32(0, 0, 4, 4));
        const __m128i top =
            _mm_rolv_epi32(_mm_shuffle_epi8(bytes, _mm_set1_epi32(0x0d0c0b0a)), _mm_setr_epi32(4, 2, 0, 30));
        const __m128i six_bits =
            _mm_ternarylogic_epi64(top, _mm_set1_epi8(0x30), _mm_and_si128(low, _mm_set1_epi8(0xf)), 0xea);
        parts.scales = _mm256_sub_epi16(_mm256_cvtepu8_epi16(six_bits), _mm256_set1_epi16(32));
        parts.d = _mm512_set1_ps(_cvtsh_ss(block.d));
    }
};

struct Q4_K {
    using Block = BlockQ4_K;
    static constexpr int kGroup = 32;  // elements that share a scale
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ4_K& block, Parts& parts) {
        for (int k = 0; k < 4; ++k) {
            const __m512i bytes = load_twice(block.quants + 32 * k);
            parts.quants[k] = _mm512_and_si512(shift_right(bytes, 0, 4), _mm512_set1_epi8(0xf));
        }
        take_scales_apart(block.scales, parts);
        take_factors(&block.d, parts);
    }
};

struct Q5_K {
    using Block = BlockQ5_K;
    static constexpr int kGroup = 32;  // elements that share a scale
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ5_K& block, Parts& parts) {
        const __m512i sixteen = _mm512_set1_epi8(16);
        const __m512i high = load_twice(block.high_bits);  // bit b is bit 4 of u[32b + l]
        const __m512i high_bits[4] = {shift_left(high, 4, 3), shift_left(high, 2, 1), shift_right(high, 0, 1),
                                      shift_right(high, 2, 3)};
        for (int k = 0; k < 4; ++k) {
            const __m512i bytes = load_twice(block.quants + 32 * k);
            const __m512i low = _mm512_and_si512(shift_right(bytes, 0, 4), _mm512_set1_epi8(0xf));
            parts.quants[k] = and_or(high_bits[k], sixteen, low);
        }
        take_scales_apart(block.scales, parts);
        take_factors(&block.d, parts);
    }
};

struct Q6_K {
    using Block = BlockQ6_K;
    static constexpr int kGroup = 16;  // elements that share a scale
    static constexpr int kZero = 32;
    static constexpr bool kHasMin = false;
    INGOT_INLINE void take_apart(const BlockQ6_K& block, Parts& parts) {
        const __m512i nibble = _mm512_set1_epi8(0xf);
        const __m512i high_mask = _mm512_set1_epi8(0x30);
        for (int half = 0; half < 2; ++half) {
            const __m512i low = _mm512_loadu_si512(block.quants + 64 * half);
            const __m512i high = load_twice(block.high_bits + 32 * half);
            parts.quants[2 * half] = and_or(shift_left(high, 4, 2), high_mask, _mm512_and_si512(low, nibble));
            parts.quants[2 * half + 1] = and_or(shift_right(high, 0, 2), high_mask,
                                                _mm512_and_si512(_mm512_srli_epi16(low, 4), nibble));
        }
        parts.scales = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales)));
        parts.d = _mm512_set1_ps(_cvtsh_ss(block.d));
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

#pragma once
// The layouts with super-blocks of 256 elements, taken apart into unsigned bytes u and integer scales, with
// w = d * scale[s] * (u - zero) - dmin * min[s], s = i / 16.
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
    __m256i scales;     // 16-bit, one for each 16 elements
    __m256i minimums;   // 16-bit, likewise; only of layouts that have them
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

// The scale of each pair of elements in vector k, 16-bit: a 128-bit lane for each 16 elements.
INGOT_INLINE __m512i scales_of_pairs(const Parts& parts, int k) {
    const __m512i lanes_of_0 =
        _mm512_set_epi64(0x0003000300030003, 0x0003000300030003, 0x0002000200020002, 0x0002000200020002,
                         0x0001000100010001, 0x0001000100010001, 0x0000000000000000, 0x0000000000000000);
    const __m512i index = _mm512_add_epi16(lanes_of_0, _mm512_set1_epi16(short(4 * k)));
    return _mm512_permutexvar_epi16(index, _mm512_castsi256_si512(parts.scales));
}

// What Q4_K and Q5_K share: 8 scales and 8 minimums of 6 bits (see unpack_scales in format/blocks/q4_k.h),
// 4 bytes at a time.
INGOT_INLINE void take_scales_apart(const uint8_t (&packed)[12], Parts& parts) {
    uint32_t words[3];
    __builtin_memcpy(words, packed, sizeof words);
    const uint32_t scales_low = words[0] & 0x3f3f3f3f;
    const uint32_t mins_low = words[1] & 0x3f3f3f3f;
    const uint32_t scales_high = (words[2] & 0x0f0f0f0f) | ((words[0] >> 2) & 0x30303030);
    const uint32_t mins_high = ((words[2] >> 4) & 0x0f0f0f0f) | ((words[1] >> 2) & 0x30303030);
    const __m128i scales = _mm_cvtsi64_si128(int64_t(uint64_t(scales_high) << 32 | scales_low));
    const __m128i mins = _mm_cvtsi64_si128(int64_t(uint64_t(mins_high) << 32 | mins_low));
    // Each is the scale of 32 elements.
    parts.scales = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(scales, scales));
    parts.minimums = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(mins, mins));
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
        const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales));
        const __m128i nibble = _mm_set1_epi8(0xf);
        parts.scales = _mm256_cvtepu8_epi16(_mm_and_si128(both, nibble));
        parts.minimums = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), nibble));
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
        // The 16 scales of 6 bits, plus 32: see unpack_scales in format/blocks/q3_k.h.
        uint32_t words[3];
        __builtin_memcpy(words, block.scales, sizeof words);
        const __m128i low =
            _mm_setr_epi32(int(words[0]), int(words[1]), int(words[0] >> 4), int(words[1] >> 4));
        const __m128i top = _mm_srlv_epi32(_mm_set1_epi32(int(words[2])), _mm_setr_epi32(0, 2, 4, 6));
        const __m128i six_bits = _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(0xf)),
                                              _mm_slli_epi32(_mm_and_si128(top, _mm_set1_epi8(3)), 4));
        parts.scales = _mm256_cvtepi8_epi16(_mm_sub_epi8(six_bits, _mm_set1_epi8(32)));
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

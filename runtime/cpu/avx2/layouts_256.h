#pragma once
// The layouts with super-blocks of 256 elements, taken apart into unsigned bytes u and integer scales:
//     w = d * scale[s] * (u - kZero) - dmin * min[s], s = i / 16.
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "runtime/cpu/avx2/avx2.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

// A super-block taken apart. Vector k of quants holds elements 32k … 32k + 31.
struct Parts {
    __m256i quants[8];  // u, unsigned bytes
    __m256i scales[8];  // 16-bit: the scale of each pair of elements
    __m256i minimums;   // 16-bit, one for each 16 elements: what multiplies the sums
    float d;            // of scales
    float dmin;         // of minimums, where they have a factor of their own
};

INGOT_INLINE __m256i load(const uint8_t* bytes) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

// Bits cross into neighbouring bytes: mask afterwards. A negative count shifts to the left.
INGOT_INLINE __m256i shift_right(__m256i x, int count) {
    return count >= 0 ? _mm256_srli_epi16(x, count) : _mm256_slli_epi16(x, -count);
}

// x >> count, of which only the bits of mask.
INGOT_INLINE __m256i bits(__m256i x, int count, char mask) {
    return _mm256_and_si256(shift_right(x, count), _mm256_set1_epi8(mask));
}

// 16 scales, one for each 16 elements -> those of each vector: a 128-bit lane for each.
INGOT_INLINE void spread_16(__m256i scales, Parts& parts) {
    const __m256i quarters[2] = {_mm256_permute2x128_si256(scales, scales, 0x00),
                                 _mm256_permute2x128_si256(scales, scales, 0x11)};
    const __m256i lanes_of_0 =
        _mm256_set_epi64x(0x0302030203020302, 0x0302030203020302, 0x0100010001000100, 0x0100010001000100);
    for (int k = 0; k < 8; ++k) {
        const __m256i index = _mm256_add_epi8(lanes_of_0, _mm256_set1_epi8(char(4 * (k % 4))));
        parts.scales[k] = _mm256_shuffle_epi8(quarters[k / 4], index);
    }
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
    const __m128i scales =
        _mm_cvtepu8_epi16(_mm_cvtsi64_si128(int64_t(uint64_t(scales_high) << 32 | scales_low)));
    const __m128i mins = _mm_cvtsi64_si128(int64_t(uint64_t(mins_high) << 32 | mins_low));
    const __m256i twice = _mm256_broadcastsi128_si256(scales);
    for (int k = 0; k < 8; ++k) {
        parts.scales[k] = _mm256_shuffle_epi8(twice, _mm256_set1_epi16(short(2 * k | (2 * k + 1) << 8)));
    }
    parts.minimums = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(mins, mins));  // each counts for two sums
}

struct Q2_K {
    using Block = BlockQ2_K;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ2_K& block, Parts& parts) {
        for (int k = 0; k < 8; ++k) parts.quants[k] = bits(load(block.quants + 32 * (k / 4)), 2 * (k % 4), 3);
        const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales));
        const __m128i nibble = _mm_set1_epi8(0xf);
        spread_16(_mm256_cvtepu8_epi16(_mm_and_si128(both, nibble)), parts);
        parts.minimums = _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), nibble));
        parts.d = _cvtsh_ss(block.d);
        parts.dmin = _cvtsh_ss(block.dmin);
    }
};

struct Q3_K {
    using Block = BlockQ3_K;
    static constexpr int kZero = 4;
    static constexpr bool kHasMin = false;
    INGOT_INLINE void take_apart(const BlockQ3_K& block, Parts& parts) {
        const __m256i high = load(block.high_bits);  // bit b is bit 2 of u[32b + l]
        for (int k = 0; k < 8; ++k) {
            const __m256i low = bits(load(block.quants + 32 * (k / 4)), 2 * (k % 4), 3);
            parts.quants[k] = _mm256_or_si256(low, bits(high, k - 2, 4));
        }
        // The 16 scales of 6 bits, plus 32: see unpack_scales in format/blocks/q3_k.h.
        uint32_t words[3];
        __builtin_memcpy(words, block.scales, sizeof words);
        const __m128i low =
            _mm_setr_epi32(int(words[0]), int(words[1]), int(words[0] >> 4), int(words[1] >> 4));
        const __m128i top = _mm_srlv_epi32(_mm_set1_epi32(int(words[2])), _mm_setr_epi32(0, 2, 4, 6));
        const __m128i six_bits = _mm_or_si128(_mm_and_si128(low, _mm_set1_epi8(0xf)),
                                              _mm_slli_epi32(_mm_and_si128(top, _mm_set1_epi8(3)), 4));
        parts.minimums = _mm256_cvtepi8_epi16(_mm_sub_epi8(six_bits, _mm_set1_epi8(32)));
        spread_16(parts.minimums, parts);
        parts.d = _cvtsh_ss(block.d);
    }
};

struct Q4_K {
    using Block = BlockQ4_K;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ4_K& block, Parts& parts) {
        for (int k = 0; k < 8; ++k) {
            parts.quants[k] = bits(load(block.quants + 32 * (k / 2)), 4 * (k % 2), 0xf);
        }
        take_scales_apart(block.scales, parts);
        parts.d = _cvtsh_ss(block.d);
        parts.dmin = _cvtsh_ss(block.dmin);
    }
};

struct Q5_K {
    using Block = BlockQ5_K;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ5_K& block, Parts& parts) {
        const __m256i high = load(block.high_bits);  // bit b is bit 4 of u[32b + l]
        for (int k = 0; k < 8; ++k) {
            const __m256i low = bits(load(block.quants + 32 * (k / 2)), 4 * (k % 2), 0xf);
            parts.quants[k] = _mm256_or_si256(low, bits(high, k - 4, 16));
        }
        take_scales_apart(block.scales, parts);
        parts.d = _cvtsh_ss(block.d);
        parts.dmin = _cvtsh_ss(block.dmin);
    }
};

struct Q6_K {
    using Block = BlockQ6_K;
    static constexpr int kZero = 32;
    static constexpr bool kHasMin = false;
    INGOT_INLINE void take_apart(const BlockQ6_K& block, Parts& parts) {
        for (int k = 0; k < 8; ++k) {
            const __m256i low = bits(load(block.quants + 64 * (k / 4) + 32 * (k % 2)), 4 * (k / 2 % 2), 0xf);
            const __m256i high = load(block.high_bits + 32 * (k / 4));
            parts.quants[k] = _mm256_or_si256(low, bits(high, 2 * (k % 4) - 4, 0x30));
        }
        parts.minimums =
            _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block.scales)));
        spread_16(parts.minimums, parts);
        parts.d = _cvtsh_ss(block.d);
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

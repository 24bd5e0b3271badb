#pragma once
// The layouts with super-blocks of 256 elements: w = d * scale[g] * (u - kZero) - dmin * minimum[g], u bytes
// of at most 6 bits, and g = i / kGroup.
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

/// A super-block taken apart. Vector k of quants holds elements 16k … 16k + 15.
struct Parts {
    uint8x16_t quants[16];  // u
    int16x8_t scales[2];    // of the groups; 8 groups have only the first vector
    int16x8_t minimums[2];  // likewise; where there is a zero instead of minimums, the scales
    float d;                // of scales
    float dmin;             // of minimums, where they have a factor of their own
};

/// Of x >> count the bits of mask. A negative count shifts to the left.
INGOT_INLINE uint8x16_t bits(uint8x16_t x, int count, uint8_t mask) {
    return (count >= 0 ? x >> count : x << -count) & vdupq_n_u8(mask);
}

INGOT_INLINE void widen(int8x16_t bytes, int16x8_t (&to)[2]) {
    to[0] = vmovl_s8(vget_low_s8(bytes));
    to[1] = vmovl_s8(vget_high_s8(bytes));
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
    const uint8x8_t scales = vcreate_u8(uint64_t(scales_high) << 32 | scales_low);
    const uint8x8_t mins = vcreate_u8(uint64_t(mins_high) << 32 | mins_low);
    parts.scales[0] = vreinterpretq_s16_u16(vmovl_u8(scales));
    parts.minimums[0] = vreinterpretq_s16_u16(vmovl_u8(mins));
}

struct Q2_K {
    using Block = BlockQ2_K;
    static constexpr int kGroup = 16, kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ2_K& block, Parts& parts) {
#pragma GCC unroll 16
        for (int k = 0; k < 16; ++k) {
            parts.quants[k] = bits(vld1q_u8(block.quants + 32 * (k / 8) + 16 * (k % 2)), 2 * (k / 2 % 4), 3);
        }
        const uint8x16_t both = vld1q_u8(block.scales);
        widen(vreinterpretq_s8_u8(both & vdupq_n_u8(0xf)), parts.scales);
        widen(vreinterpretq_s8_u8(both >> 4), parts.minimums);
        parts.d = to_float(block.d);
        parts.dmin = to_float(block.dmin);
    }
};

struct Q3_K {
    using Block = BlockQ3_K;
    static constexpr int kGroup = 16, kZero = 4;
    static constexpr bool kHasMin = false;
    INGOT_INLINE void take_apart(const BlockQ3_K& block, Parts& parts) {
#pragma GCC unroll 16
        for (int k = 0; k < 16; ++k) {
            const uint8x16_t low = vld1q_u8(block.quants + 32 * (k / 8) + 16 * (k % 2));
            const uint8x16_t high = vld1q_u8(block.high_bits + 16 * (k % 2));  // bit b is bit 2 of u[32b + l]
            parts.quants[k] = bits(low, 2 * (k / 2 % 4), 3) | bits(high, k / 2 - 2, 4);
        }
        // The 16 scales of 6 bits, plus 32: see unpack_scales in format/blocks/q3_k.h.
        uint32_t words[3];
        __builtin_memcpy(words, block.scales, sizeof words);
        const uint32_t lows[4] = {words[0], words[1], words[0] >> 4, words[1] >> 4};
        constexpr int32_t kShifts[4] = {4, 2, 0, -2};
        const uint32x4_t high = vshlq_u32(vdupq_n_u32(words[2]), vld1q_s32(kShifts));
        const uint8x16_t six_bits = (vreinterpretq_u8_u32(vld1q_u32(lows)) & vdupq_n_u8(0xf)) |
                                    (vreinterpretq_u8_u32(high) & vdupq_n_u8(0x30));
        widen(vsubq_s8(vreinterpretq_s8_u8(six_bits), vdupq_n_s8(32)), parts.scales);
        for (int i = 0; i < 2; ++i) parts.minimums[i] = parts.scales[i];
        parts.d = to_float(block.d);
    }
};

struct Q4_K {
    using Block = BlockQ4_K;
    static constexpr int kGroup = 32, kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ4_K& block, Parts& parts) {
#pragma GCC unroll 16
        for (int k = 0; k < 16; ++k) {
            parts.quants[k] =
                bits(vld1q_u8(block.quants + 32 * (k / 4) + 16 * (k % 2)), 4 * (k / 2 % 2), 0xf);
        }
        take_scales_apart(block.scales, parts);
        parts.d = to_float(block.d);
        parts.dmin = to_float(block.dmin);
    }
};

struct Q5_K {
    using Block = BlockQ5_K;
    static constexpr int kGroup = 32, kZero = 0;
    static constexpr bool kHasMin = true;
    INGOT_INLINE void take_apart(const BlockQ5_K& block, Parts& parts) {
#pragma GCC unroll 16
        for (int k = 0; k < 16; ++k) {
            const uint8x16_t low = vld1q_u8(block.quants + 32 * (k / 4) + 16 * (k % 2));
            const uint8x16_t high = vld1q_u8(block.high_bits + 16 * (k % 2));  // bit b is bit 4 of u[32b + l]
            parts.quants[k] = bits(low, 4 * (k / 2 % 2), 0xf) | bits(high, k / 2 - 4, 16);
        }
        take_scales_apart(block.scales, parts);
        parts.d = to_float(block.d);
        parts.dmin = to_float(block.dmin);
    }
};

struct Q6_K {
    using Block = BlockQ6_K;
    static constexpr int kGroup = 16, kZero = 32;
    static constexpr bool kHasMin = false;
    INGOT_INLINE void take_apart(const BlockQ6_K& block, Parts& parts) {
#pragma GCC unroll 16
        for (int k = 0; k < 16; ++k) {
            const uint8x16_t low = vld1q_u8(block.quants + 64 * (k / 8) + 16 * (k % 4));
            const uint8x16_t high = vld1q_u8(block.high_bits + 32 * (k / 8) + 16 * (k % 2));
            parts.quants[k] = bits(low, 4 * (k / 4 % 2), 0xf) | bits(high, 2 * (k / 2 % 4) - 4, 0x30);
        }
        widen(vld1q_s8(block.scales), parts.scales);
        for (int i = 0; i < 2; ++i) parts.minimums[i] = parts.scales[i];
        parts.d = to_float(block.d);
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::neon

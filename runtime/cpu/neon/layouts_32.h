#pragma once
// The layouts whose scales each cover 32 elements: w = scale * q + offset, q signed bytes. Each gives the q
// of block b of a row, and scale and offset of n ≤ 4 blocks from b on, zeros above.
#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q8_0.h"
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

/// The 32 quants of a block.
struct Quants32 {
    int8x16_t first, second;  // elements 0 … 15, 16 … 31
};

/// 16 bytes: the low nibbles are the first 16 elements.
INGOT_INLINE Quants32 nibbles(const uint8_t* bytes) {
    const uint8x16_t both = vld1q_u8(bytes);
    return {vreinterpretq_s8_u8(both & vdupq_n_u8(0xf)), vreinterpretq_s8_u8(both >> 4)};
}

INGOT_INLINE Quants32 subtract(Quants32 quants, int8_t zero) {
    return {vsubq_s8(quants.first, vdupq_n_s8(zero)), vsubq_s8(quants.second, vdupq_n_s8(zero))};
}

/// Nibbles, and their bits 4 from 32 bits.
INGOT_INLINE Quants32 five_bits(const uint8_t* bytes, const uint8_t (&bits)[4]) {
    uint32_t word;
    __builtin_memcpy(&word, bits, sizeof word);
    const uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(word));
    const uint8x16_t byte_of = vcombine_u8(vdup_n_u8(0), vdup_n_u8(1));
    const uint8x16_t bit_of = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
    const auto high = [&](uint8x16_t bytes_of_bits) {
        return vreinterpretq_s8_u8(vtstq_u8(bytes_of_bits, bit_of) & vdupq_n_u8(16));
    };
    const Quants32 low = nibbles(bytes);
    return {low.first | high(vqtbl1q_u8(all, byte_of)), low.second | high(vqtbl1q_u8(all, byte_of + 2))};
}

INGOT_INLINE Quants32 iq4_values(const uint8_t* bytes) {
    const int8x16_t table = vld1q_s8(kIq4Values);
    const Quants32 index = nibbles(bytes);
    return {vqtbl1q_s8(table, vreinterpretq_u8_s8(index.first)),
            vqtbl1q_s8(table, vreinterpretq_u8_s8(index.second))};
}

/// One half of each of n ≤ 4 blocks, which lie sizeof(Block) bytes apart.
template <typename Block>
INGOT_INLINE float32x4_t collect_halves(const uint16_t* first, int n) {
    const auto* from = reinterpret_cast<const uint8_t*>(first);
    uint64_t halves = 0;
#pragma GCC unroll 4
    for (int i = 0; i < n; ++i) {
        uint16_t half;
        __builtin_memcpy(&half, from + size_t(i) * sizeof(Block), sizeof half);
        halves |= uint64_t(half) << (16 * i);
    }
    return vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(halves)));
}

template <typename Block>
INGOT_INLINE const Block* block_at(const uint8_t* row, int64_t b) {
    return reinterpret_cast<const Block*>(row) + b;
}

/// Layouts with d alone.
template <typename BlockType>
struct Symmetric {
    using Block = BlockType;
    static constexpr int64_t kBytesOf4 = 4 * sizeof(Block);
    static constexpr bool kHasOffset = false;
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, float32x4_t& scale, float32x4_t& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = vdupq_n_f32(0);
    }
};

/// Layouts with d and min.
template <typename BlockType>
struct WithMin {
    using Block = BlockType;
    static constexpr int64_t kBytesOf4 = 4 * sizeof(Block);
    static constexpr bool kHasOffset = true;
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, float32x4_t& scale, float32x4_t& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = collect_halves<Block>(&block_at<Block>(row, b)->min, n);
    }
};

struct Q4_0 : Symmetric<BlockQ4_0> {
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        return subtract(nibbles(block_at<Block>(row, b)->quants), 8);
    }
};
struct Q4_1 : WithMin<BlockQ4_1> {
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        return nibbles(block_at<Block>(row, b)->quants);
    }
};
struct Q5_0 : Symmetric<BlockQ5_0> {
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        const Block* block = block_at<Block>(row, b);
        return subtract(five_bits(block->quants, block->high_bits), 16);
    }
};
struct Q5_1 : WithMin<BlockQ5_1> {
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        const Block* block = block_at<Block>(row, b);
        return five_bits(block->quants, block->high_bits);
    }
};
struct Q8_0 : Symmetric<BlockQ8_0> {
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        const auto* bytes = reinterpret_cast<const int8_t*>(block_at<Block>(row, b)->quants);
        return {vld1q_s8(bytes), vld1q_s8(bytes + 16)};
    }
};
struct IQ4_NL : Symmetric<BlockIQ4_NL> {
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        return iq4_values(block_at<Block>(row, b)->quants);
    }
};
// A super-block is 8 blocks of 32 whose scales are d * (a 6-bit number); a row has a multiple of 8 of them.
struct IQ4_XS {
    static constexpr int64_t kBytesOf4 = sizeof(BlockIQ4_XS) / 2;
    static constexpr bool kHasOffset = false;
    INGOT_INLINE Quants32 quants(const uint8_t* row, int64_t b) {
        return iq4_values(block_at<BlockIQ4_XS>(row, b / 8)->quants + 16 * (b % 8));
    }
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int, float32x4_t& scale, float32x4_t& offset) {
        const BlockIQ4_XS* block = block_at<BlockIQ4_XS>(row, b / 8);
        // 4 of the 8 scales: 4 low bits each in 2 bytes, 2 high bits each in one byte.
        const int32_t half = int32_t(b % 8) / 4;
        uint16_t low;
        __builtin_memcpy(&low, block->scales_low + 2 * half, sizeof low);
        const uint32_t high = uint32_t(block->scales_high) >> (8 * half);
        constexpr int32_t kLowShifts[4] = {0, -4, -8, -12}, kHighShifts[4] = {4, 2, 0, -2};
        const uint32x4_t lows = vshlq_u32(vdupq_n_u32(low), vld1q_s32(kLowShifts)) & vdupq_n_u32(0xf);
        const uint32x4_t highs = vshlq_u32(vdupq_n_u32(high), vld1q_s32(kHighShifts)) & vdupq_n_u32(0x30);
        const int32x4_t integers = vsubq_s32(vreinterpretq_s32_u32(lows | highs), vdupq_n_s32(32));
        scale = vmulq_n_f32(vcvtq_f32_s32(integers), to_float(block->d));
        offset = vdupq_n_f32(0);
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::neon

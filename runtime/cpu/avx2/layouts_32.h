#pragma once
// The layouts whose scales each cover 32 elements: w = scale * u + offset, u unsigned bytes, or signed ones
// where kSigned (and the offset 0). Each gives the quants of block b of a row, and scale and offset of n ≤ 8
// blocks from b on, zeros above.
#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q8_0.h"
#include "runtime/cpu/avx2/avx2.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

// 16 bytes -> their 32 low and high nibbles: [low | high].
INGOT_INLINE __m256i nibbles(const uint8_t* bytes) {
    const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(both, 4), both), _mm256_set1_epi8(0xf));
}

// 32 bits -> 16 in each byte whose bit is set.
INGOT_INLINE __m256i high_bits(const uint8_t (&bits)[4]) {
    int32_t word;
    __builtin_memcpy(&word, bits, sizeof word);
    const __m256i byte_of = _mm256_set_epi64x(0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
    const __m256i bit_of = _mm256_set1_epi64x(int64_t(0x8040201008040201));
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), byte_of);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit_of), bit_of);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

INGOT_INLINE __m256i iq4_values(__m256i quants) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Values));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), quants);
}

// One half of each of n ≤ 8 blocks, which lie sizeof(Block) bytes apart. Collected in integer registers:
// through memory, the load would wait until the stores are done, and insertions would keep a busy port
// busier.
template <typename Block>
INGOT_INLINE __m256 collect_halves(const uint16_t* first, int n) {
    const auto* from = reinterpret_cast<const uint8_t*>(first);
    uint64_t fours[2] = {};
#pragma GCC unroll 8
    for (int i = 0; i < n; ++i) {
        uint16_t half;
        __builtin_memcpy(&half, from + size_t(i) * sizeof(Block), sizeof half);
        fours[i / 4] |= uint64_t(half) << (16 * (i % 4));
    }
    return _mm256_cvtph_ps(_mm_set_epi64x(int64_t(fours[1]), int64_t(fours[0])));
}

template <typename Block>
INGOT_INLINE const Block* block_at(const uint8_t* row, int64_t b) {
    return reinterpret_cast<const Block*>(row) + b;
}

// Layouts with d and quants that stand for quant - kZero.
template <typename BlockType, int kZeroOfLayout>
struct Symmetric {
    using Block = BlockType;
    static constexpr int kZero = kZeroOfLayout;
    static constexpr bool kHasMin = false;
    static constexpr int64_t kBytesOf8 = 8 * sizeof(Block);
    static constexpr bool kSigned = kZero == 0;
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m256& scale, __m256& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = _mm256_mul_ps(scale, _mm256_set1_ps(-float(kZero)));
    }
};

// Layouts with d and min.
template <typename BlockType>
struct WithMin {
    using Block = BlockType;
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    static constexpr int64_t kBytesOf8 = 8 * sizeof(Block);
    static constexpr bool kSigned = false;
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m256& scale, __m256& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = collect_halves<Block>(&block_at<Block>(row, b)->min, n);
    }
};

struct Q4_0 : Symmetric<BlockQ4_0, 8> {
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        return nibbles(block_at<Block>(row, b)->quants);
    }
};
struct Q4_1 : WithMin<BlockQ4_1> {
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        return nibbles(block_at<Block>(row, b)->quants);
    }
};
struct Q5_0 : Symmetric<BlockQ5_0, 16> {
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        const Block* block = block_at<Block>(row, b);
        return _mm256_or_si256(nibbles(block->quants), high_bits(block->high_bits));
    }
};
struct Q5_1 : WithMin<BlockQ5_1> {
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        const Block* block = block_at<Block>(row, b);
        return _mm256_or_si256(nibbles(block->quants), high_bits(block->high_bits));
    }
};
struct Q8_0 : Symmetric<BlockQ8_0, 0> {
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block_at<Block>(row, b)->quants));
    }
};
struct IQ4_NL : Symmetric<BlockIQ4_NL, 0> {
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        return iq4_values(nibbles(block_at<Block>(row, b)->quants));
    }
};
// A super-block is 8 blocks of 32 whose scales are d * (a 6-bit number); a row has a multiple of 8 of them.
struct IQ4_XS {
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = false;
    static constexpr int64_t kBytesOf8 = sizeof(BlockIQ4_XS);
    static constexpr bool kSigned = true;
    INGOT_INLINE __m256i quants(const uint8_t* row, int64_t b) {
        return iq4_values(nibbles(block_at<BlockIQ4_XS>(row, b / 8)->quants + 16 * (b % 8)));
    }
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int, __m256& scale, __m256& offset) {
        const BlockIQ4_XS* block = block_at<BlockIQ4_XS>(row, b / 8);
        alignas(8) int8_t scales[8];
        unpack_scales(*block, scales);
        const __m256i integers =
            _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(scales)));
        scale = _mm256_mul_ps(_mm256_cvtepi32_ps(integers), _mm256_set1_ps(_cvtsh_ss(block->d)));
        offset = _mm256_setzero_ps();
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx2

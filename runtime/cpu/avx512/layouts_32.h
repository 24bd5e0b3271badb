#pragma once
// The layouts whose scales each cover 32 elements, as 64 unsigned bytes u at a time, with w = scale * u +
// offset.
#include <cstddef>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q8_0.h"
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

// Each says where block b of a row begins, the unsigned quants of blocks b and b + 1 (or of b alone, with
// zeros above), and scale and offset of n ≤ 16 blocks, zeros above.

// 16 bytes each of two blocks, each twice: [first | first | second | second], or [first | first | 0 | 0].
template <bool both>
INGOT_INLINE __m512i load_twice(const uint8_t* first, const uint8_t* second) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
    if constexpr (!both) return _mm512_maskz_broadcast_i32x4(0x00ff, a);
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(second));
    return _mm512_mask_broadcast_i32x4(_mm512_broadcast_i32x4(a), 0xff00, b);
}

// Their 32 low and high nibbles: [low 0 | high 0 | low 1 | high 1].
template <bool both>
INGOT_INLINE __m512i nibbles(const uint8_t* first, const uint8_t* second) {
    const __m512i shifts = _mm512_set_epi32(4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0);
    const __m512i bytes = _mm512_srlv_epi32(load_twice<both>(first, second), shifts);
    return _mm512_and_si512(bytes, _mm512_set1_epi8(0xf));
}

// The same without the shift: high nibbles count 16 times as much.
template <bool both>
INGOT_INLINE __m512i nibbles_in_place(const uint8_t* first, const uint8_t* second) {
    constexpr long long kLow = 0x0f0f0f0f0f0f0f0f, kHigh = ~kLow;
    const __m512i masks = _mm512_set_epi64(kHigh, kHigh, kLow, kLow, kHigh, kHigh, kLow, kLow);
    return _mm512_and_si512(load_twice<both>(first, second), masks);
}

INGOT_INLINE uint32_t load_u32(const void* from) {
    uint32_t value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

// What stands at the same place of 16 blocks of `stride` bytes, 2 or 4 bytes each, is found in vectors of 64
// bytes by one permutation of each: vector k has the lanes of mask(k), at these places modulo its size.
template <typename Word, int stride>
struct Places {
    static constexpr int kBytes = 15 * stride + int(sizeof(Word));
    static constexpr int kVectors = (kBytes + 63) / 64;
    static_assert(stride % sizeof(Word) == 0);  // none lies across two vectors
    alignas(64) Word of[64 / sizeof(Word)];
    constexpr Places() : of{} {
        for (int i = 0; i < 16; ++i) of[i] = Word(i * stride % 64 / int(sizeof(Word)));
    }
    static constexpr uint32_t mask(int k) {
        uint32_t bits = 0;
        for (int i = 0; i < 16; ++i) bits |= uint32_t(i * stride / 64 == k) << i;
        return bits;
    }
    // Vector k; nothing is read beyond the last.
    INGOT_INLINE __m512i load(const uint8_t* from, int k) {
        const int n = kBytes - 64 * k;
        if (n >= 64) return _mm512_loadu_si512(from + 64 * k);
        return _mm512_maskz_loadu_epi16(__mmask32((uint64_t(1) << (n / 2)) - 1), from + 64 * k);
    }
};
template <typename Word, int stride>
static constexpr Places<Word, stride> kPlaces;

// One half of each of 16 blocks.
template <typename Block>
INGOT_INLINE __m512 collect_16_halves(const uint8_t* from) {
    using P = Places<uint16_t, sizeof(Block)>;
    const __m512i places = _mm512_load_si512(kPlaces<uint16_t, sizeof(Block)>.of);
    __m512i all = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int k = 0; k < P::kVectors; ++k) {
        all = _mm512_mask_permutexvar_epi16(all, P::mask(k), places, P::load(from, k));
    }
    return _mm512_cvtph_ps(_mm512_castsi512_si256(all));
}

// Two halves of each, one behind the other.
template <typename Block>
INGOT_INLINE void collect_16_pairs(const uint8_t* from, __m512& first, __m512& second) {
    using P = Places<uint32_t, sizeof(Block)>;
    const __m512i places = _mm512_load_si512(kPlaces<uint32_t, sizeof(Block)>.of);
    __m512i all = _mm512_setzero_si512();
#pragma GCC unroll 16
    for (int k = 0; k < P::kVectors; ++k) {
        all = _mm512_mask_permutexvar_epi32(all, __mmask16(P::mask(k)), places, P::load(from, k));
    }
    first = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(all));
    second = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(all, 16)));
}

// One half of each of n ≤ 16 blocks, zeros above.
template <typename Block>
INGOT_INLINE __m512 collect_halves(const uint16_t* first, int n) {
    const auto* from = reinterpret_cast<const uint8_t*>(first);
    if (n == 16) return collect_16_halves<Block>(from);
    alignas(32) uint16_t halves[16] = {};
    for (int i = 0; i < n; ++i)
        __builtin_memcpy(halves + i, from + size_t(i) * sizeof(Block), sizeof *halves);
    return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(halves)));
}
template <typename Block>
INGOT_INLINE void collect_pairs_of_halves(const uint16_t* first_pair, int n, __m512& first, __m512& second) {
    if (n == 16) return collect_16_pairs<Block>(reinterpret_cast<const uint8_t*>(first_pair), first, second);
    first = collect_halves<Block>(first_pair, n);
    second = collect_halves<Block>(first_pair + 1, n);
}

template <typename Block>
INGOT_INLINE const Block* block_at(const uint8_t* row, int64_t b) {
    return reinterpret_cast<const Block*>(row) + b;
}

// Layouts with d and quants that stand for quant - kZero.
template <typename Block, int kZeroQuant>
struct Symmetric {
    static constexpr int kZero = kZeroQuant;
    static constexpr bool kHasMin = false;
    static constexpr int64_t kBytesOf16 = 16 * sizeof(Block);
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m512& scale, __m512& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = _mm512_mul_ps(scale, _mm512_set1_ps(-float(kZero)));
    }
};

// Layouts with d and min.
template <typename Block>
struct WithMin {
    static constexpr int kZero = 0;
    static constexpr bool kHasMin = true;
    static constexpr int64_t kBytesOf16 = 16 * sizeof(Block);
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m512& scale, __m512& offset) {
        static_assert(offsetof(Block, min) == offsetof(Block, d) + 2);
        collect_pairs_of_halves<Block>(&block_at<Block>(row, b)->d, n, scale, offset);
    }
};

template <bool both, typename Block>
INGOT_INLINE __m512i nibbles_of(const uint8_t* row, int64_t b) {
    const Block* block = block_at<Block>(row, b);
    return nibbles<both>(block[0].quants, both ? block[1].quants : nullptr);
}

// Nibbles plus 16 where the element's high bit is set.
template <bool both, typename Block>
INGOT_INLINE __m512i five_bits_of(const uint8_t* row, int64_t b) {
    const Block* block = block_at<Block>(row, b);
    uint64_t high = load_u32(block[0].high_bits);
    if constexpr (both) high |= uint64_t(load_u32(block[1].high_bits)) << 32;
    const __m512i low = nibbles_of<both, Block>(row, b);
    return _mm512_mask_add_epi8(low, _cvtu64_mask64(high), low, _mm512_set1_epi8(16));
}

// Nibbles -> kIq4Values + 128, which are unsigned.
INGOT_INLINE __m512i iq4_values(__m512i quants) {
    const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kIq4Values));
    const __m512i values = _mm512_broadcast_i32x4(_mm_xor_si128(table, _mm_set1_epi8(-128)));
    return _mm512_shuffle_epi8(values, quants);
}

struct Q4_0 : Symmetric<BlockQ4_0, 8> {
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        return nibbles_of<both, BlockQ4_0>(row, b);
    }
    template <bool both>
    INGOT_INLINE __m512i quants_in_place(const uint8_t* row, int64_t b) {
        const BlockQ4_0* block = block_at<BlockQ4_0>(row, b);
        return nibbles_in_place<both>(block[0].quants, both ? block[1].quants : nullptr);
    }
};
struct Q4_1 : WithMin<BlockQ4_1> {
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        return nibbles_of<both, BlockQ4_1>(row, b);
    }
    template <bool both>
    INGOT_INLINE __m512i quants_in_place(const uint8_t* row, int64_t b) {
        const BlockQ4_1* block = block_at<BlockQ4_1>(row, b);
        return nibbles_in_place<both>(block[0].quants, both ? block[1].quants : nullptr);
    }
};
struct Q5_0 : Symmetric<BlockQ5_0, 16> {
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        return five_bits_of<both, BlockQ5_0>(row, b);
    }
};
struct Q5_1 : WithMin<BlockQ5_1> {
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        return five_bits_of<both, BlockQ5_1>(row, b);
    }
};
struct Q8_0 : Symmetric<BlockQ8_0, 128> {
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        const BlockQ8_0* block = block_at<BlockQ8_0>(row, b);
        __m512i bytes =
            _mm512_zextsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(block[0].quants)));
        if constexpr (both) {
            bytes = _mm512_inserti64x4(
                bytes, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block[1].quants)), 1);
        }
        return _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));  // plus 128
    }
};
struct IQ4_NL : Symmetric<BlockIQ4_NL, 128> {
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        return iq4_values(nibbles_of<both, BlockIQ4_NL>(row, b));
    }
};
// A super-block is 8 blocks of 32 whose scales are d * (a 6-bit number); a row has a multiple of 8 of them.
struct IQ4_XS {
    static constexpr int kZero = 128;
    static constexpr bool kHasMin = false;
    static constexpr int64_t kBytesOf16 = 2 * sizeof(BlockIQ4_XS);
    template <bool both>
    INGOT_INLINE __m512i quants(const uint8_t* row, int64_t b) {
        const uint8_t* bytes = block_at<BlockIQ4_XS>(row, b / 8)->quants + 16 * (b % 8);
        return iq4_values(nibbles<both>(bytes, bytes + 16));
    }
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m512& scale, __m512& offset) {
        const BlockIQ4_XS* block = block_at<BlockIQ4_XS>(row, b / 8);
        scale = _mm512_insertf32x8(_mm512_setzero_ps(), scales_of(block[0]), 0);
        if (n > 8) scale = _mm512_insertf32x8(scale, scales_of(block[1]), 1);
        offset = _mm512_mul_ps(scale, _mm512_set1_ps(-float(kZero)));
    }
    INGOT_INLINE __m256 scales_of(const BlockIQ4_XS& block) {
        const __m256i low = _mm256_srlv_epi32(_mm256_set1_epi32(int(load_u32(block.scales_low))),
                                              _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0));
        const __m256i high = _mm256_srlv_epi32(_mm256_set1_epi32(block.scales_high),
                                               _mm256_set_epi32(14, 12, 10, 8, 6, 4, 2, 0));
        const __m256i six_bits =
            _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi32(0xf)),
                            _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(3)), 4));
        const __m256 scales = _mm256_cvtepi32_ps(_mm256_sub_epi32(six_bits, _mm256_set1_epi32(32)));
        return _mm256_mul_ps(scales, _mm256_set1_ps(_cvtsh_ss(block.d)));
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

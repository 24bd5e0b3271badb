// Matrix products of the layouts whose scales each cover 32 elements.
//
// Weights become unsigned bytes u with w = scale * u + offset, so that VPDPBUSD multiplies them with the
// signed activations: 64 weights, two blocks, in one instruction. For 16 blocks at a time
//     y += Σ_b (scale[b] * x.scales[b]) * dot(u, x.quants)  +  Σ_b offset[b] * x.sums[b]
// where the second sum is one multiply-add of vectors. Dots are exact; floats are added up in 16 lanes.
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

// ── Layouts ─────────────────────────────────────────────────────────────────────────────────────────────
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

// One half of each of n ≤ 16 blocks, which lie sizeof(Block) bytes apart. Collected in integer registers:
// through memory, the load would wait until the stores are done, and insertions would keep a busy port
// busier.
template <typename Block>
INGOT_INLINE __m512 collect_halves(const uint16_t* first, int n) {
    const auto* from = reinterpret_cast<const uint8_t*>(first);
    uint64_t fours[4] = {};
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
        uint16_t half;
        __builtin_memcpy(&half, from + size_t(i) * sizeof(Block), sizeof half);
        fours[i / 4] |= uint64_t(half) << (16 * (i % 4));
    }
    return _mm512_cvtph_ps(
        _mm256_set_epi64x(int64_t(fours[3]), int64_t(fours[2]), int64_t(fours[1]), int64_t(fours[0])));
}

template <typename Block>
INGOT_INLINE const Block* block_at(const uint8_t* row, int64_t b) {
    return reinterpret_cast<const Block*>(row) + b;
}

// Layouts with d and quants that stand for quant - kZero.
template <typename Block, int kZero>
struct Symmetric {
    static constexpr int64_t kBytesOf16 = 16 * sizeof(Block);
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m512& scale, __m512& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = _mm512_mul_ps(scale, _mm512_set1_ps(-float(kZero)));
    }
};

// Layouts with d and min.
template <typename Block>
struct WithMin {
    static constexpr int64_t kBytesOf16 = 16 * sizeof(Block);
    INGOT_INLINE void factors(const uint8_t* row, int64_t b, int n, __m512& scale, __m512& offset) {
        scale = collect_halves<Block>(&block_at<Block>(row, b)->d, n);
        offset = collect_halves<Block>(&block_at<Block>(row, b)->min, n);
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
        offset = _mm512_mul_ps(scale, _mm512_set1_ps(-128.0f));
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

template <bool kValue>
struct Constant {
    static constexpr bool value = kValue;
};

// ── The product ─────────────────────────────────────────────────────────────────────────────────────────

// A single token meets each weight once: there the shift of the high nibbles is saved where a layout can, and
// their factors are divided by 16 instead, once for 16 blocks.
template <typename Layout>
concept HasQuantsInPlace = requires(const uint8_t* row) {
    Layout::template quants_in_place<true>(row, 0);
};

// The float factors of the 16 lanes of blocks b + i and b + i + 1 out of those of 16 blocks.
template <bool in_place>
INGOT_INLINE __m512 factors_of_pair(__m512 factors, __m512 sixteenths, int i) {
    constexpr int kHigh = in_place ? 16 : 0;  // + 16: of the second vector
    const __m512i pair = _mm512_set_epi32(i + 1 + kHigh, i + 1 + kHigh, i + 1 + kHigh, i + 1 + kHigh, i + 1,
                                          i + 1, i + 1, i + 1,  //
                                          i + kHigh, i + kHigh, i + kHigh, i + kHigh, i, i, i, i);
    if constexpr (in_place) return _mm512_permutex2var_ps(factors, pair, sixteenths);
    return _mm512_permutexvar_ps(pair, factors);
}

// Adds n ≤ 16 blocks from block b on to sums, for R rows and T tokens.
template <typename Layout, int R, int T>
INGOT_INLINE void add_blocks(const uint8_t* const (&rows)[R], const ActivationRow32 (&x)[T], int64_t b, int n,
                             __m512 (&sums)[R][T]) {
    constexpr bool kInPlace = T == 1 && HasQuantsInPlace<Layout>;
    const __mmask16 mask = lanes(n);
    __m512 factors[R][T];  // lane i: scale of block b + i, times that of the activations
    __m512 sixteenths[R];  // of them, where needed
    for (int r = 0; r < R; ++r) {
        __m512 scale, offset;
        Layout::factors(rows[r], b, n, scale, offset);
        for (int t = 0; t < T; ++t) {
            factors[r][t] = _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(mask, x[t].scales + b));
            sums[r][t] = _mm512_fmadd_ps(offset, _mm512_maskz_loadu_ps(mask, x[t].sums + b), sums[r][t]);
        }
        sixteenths[r] = _mm512_mul_ps(factors[r][0], _mm512_set1_ps(1.0f / 16));
    }
    const auto add_pair = [&](auto both, int i) __attribute__((always_inline)) {
        for (int r = 0; r < R; ++r) {
            if (T == 1 && 32 * i < Layout::kBytesOf16) {  // one line with each pair, not all at once
                _mm_prefetch(rows[r] + b / 16 * Layout::kBytesOf16 + 32 * i + kPrefetchBytes, _MM_HINT_T0);
            }
            __m512i weights;
            if constexpr (kInPlace) {
                weights = Layout::template quants_in_place<both.value>(rows[r], b + i);
            } else {
                weights = Layout::template quants<both.value>(rows[r], b + i);
            }
            for (int t = 0; t < T; ++t) {
                const int8_t* quants = x[t].quants + 32 * (b + i);
                const __m512i activations =
                    both.value ? _mm512_loadu_si512(quants) : _mm512_maskz_loadu_epi32(0x00ff, quants);
                const __m512i dots = _mm512_dpbusd_epi32(_mm512_setzero_si512(), weights, activations);
                sums[r][t] = _mm512_fmadd_ps(factors_of_pair<kInPlace>(factors[r][t], sixteenths[r], i),
                                             _mm512_cvtepi32_ps(dots), sums[r][t]);
            }
        }
    };
#pragma GCC unroll 8
    for (int i = 0; i + 2 <= n; i += 2) add_pair(Constant<true>(), i);
    if (n % 2 != 0) add_pair(Constant<false>(), n - 1);
}

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    const uint8_t* rows[R];
    ActivationRow32 x[T];
    __m512 sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = row_of(m, row + r * spacing);
    for (int t = 0; t < T; ++t) x[t] = activation_row_32(activations_of(m, token + t), m.n_in);
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = _mm512_setzero_ps();
    }
    const int64_t n_blocks = m.n_in / 32;
    int64_t b = 0;
    for (; b + 16 <= n_blocks; b += 16) {
        add_blocks<Layout, R, T>(rows, x, b, 16, sums);
    }
    if (b < n_blocks) add_blocks<Layout, R, T>(rows, x, b, int(n_blocks - b), sums);
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) {
            m.output[(token + t) * m.output_stride + row + r * spacing] = _mm512_reduce_add_ps(sums[r][t]);
        }
    }
}

template <typename Layout>
struct Tiles {
    template <int T>
    static constexpr int kRows = T == 1 ? 4 : 1;
    template <int R, int T>
    void run(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) const {
        tile<Layout, R, T>(m, row, spacing, token);
    }
};

}  // namespace

void matmul_q4_0(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q4_0>());
}
void matmul_q4_1(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q4_1>());
}
void matmul_q5_0(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q5_0>());
}
void matmul_q5_1(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q5_1>());
}
void matmul_q8_0(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q8_0>());
}
void matmul_iq4_nl(const MatmulArguments& m) {
    for_each_tile(m, Tiles<IQ4_NL>());
}
void matmul_iq4_xs(const MatmulArguments& m) {
    for_each_tile(m, Tiles<IQ4_XS>());
}

}  // namespace ingot::runtime::cpu::avx512

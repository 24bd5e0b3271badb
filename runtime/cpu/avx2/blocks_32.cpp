// Matrix products of the layouts whose scales each cover 32 elements.
//
// Weights of 4 and 5 bits become unsigned bytes u with w = scale * u + offset; VPMADDUBSW multiplies them
// with the signed activations and adds up pairs in 16 bits (at most 2 * 31 * 127). Weights of 8 bits stay
// signed (offset 0): their magnitude meets the activation times their sign (at most 2 * 128 * 127). For 8
// blocks at a time
//     y += Σ_b (scale[b] * x.scales[b]) * dot(u, x.quants)  +  Σ_b offset[b] * x.sums[b]
// Dots are exact; floats are added up in 8 lanes.
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

// ── Layouts ─────────────────────────────────────────────────────────────────────────────────────────────
// Each gives the quants of block b of a row, and scale and offset of n ≤ 8 blocks from b on, zeros above.

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
template <typename BlockType, int kZero>
struct Symmetric {
    using Block = BlockType;
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

// ── The product ─────────────────────────────────────────────────────────────────────────────────────────

// Four products in each 32-bit lane.
template <bool kSigned>
INGOT_INLINE __m256i dot(__m256i weights, __m256i x) {
    const __m256i pairs = kSigned
                              ? _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights))
                              : _mm256_maddubs_epi16(weights, x);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

// Adds n ≤ 8 blocks from block b on to sums, for R rows and T tokens.
template <typename Layout, int R, int T>
INGOT_INLINE void add_blocks(const uint8_t* const (&rows)[R], const ActivationRow32 (&x)[T], int64_t b, int n,
                             __m256 (&sums)[R][T]) {
    alignas(32) float factors[R][T][8];  // [i]: scale of block b + i, times that of the activations
    for (int r = 0; r < R; ++r) {
        __m256 scale, offset;
        Layout::factors(rows[r], b, n, scale, offset);
        for (int t = 0; t < T; ++t) {
            const __m256 x_scales =
                n == 8 ? _mm256_loadu_ps(x[t].scales + b) : _mm256_maskload_ps(x[t].scales + b, lanes(n));
            _mm256_store_ps(factors[r][t], _mm256_mul_ps(scale, x_scales));
            if constexpr (!Layout::kSigned) {
                const __m256 x_sums =
                    n == 8 ? _mm256_loadu_ps(x[t].sums + b) : _mm256_maskload_ps(x[t].sums + b, lanes(n));
                sums[r][t] = _mm256_fmadd_ps(offset, x_sums, sums[r][t]);
            }
        }
    }
    for (int i = 0; i < n; ++i) {
        for (int r = 0; r < R; ++r) {
            const __m256i weights = Layout::quants(rows[r], b + i);
            for (int t = 0; t < T; ++t) {
                const auto* quants = reinterpret_cast<const __m256i*>(x[t].quants + 32 * (b + i));
                const __m256i dots = dot<Layout::kSigned>(weights, _mm256_loadu_si256(quants));
                sums[r][t] = _mm256_fmadd_ps(_mm256_broadcast_ss(&factors[r][t][i]), _mm256_cvtepi32_ps(dots),
                                             sums[r][t]);
            }
        }
    }
}

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    const uint8_t* rows[R];
    ActivationRow32 x[T];
    __m256 sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = row_of(m, row + r * spacing);
    for (int t = 0; t < T; ++t) x[t] = activation_row_32(activations_of(m, token + t), m.n_in);
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = _mm256_setzero_ps();
    }
    const int64_t n_blocks = m.n_in / 32;
    int64_t b = 0;
    for (; b + 8 <= n_blocks; b += 8) {
        if constexpr (T == 1) {
            const size_t ahead = size_t(b / 8 * Layout::kBytesOf8) + size_t(kPrefetchBytes);
            for (int r = 0; r < R; ++r) prefetch(rows[r] + ahead, size_t(Layout::kBytesOf8));
        }
        add_blocks<Layout, R, T>(rows, x, b, 8, sums);
    }
    if (b < n_blocks) add_blocks<Layout, R, T>(rows, x, b, int(n_blocks - b), sums);
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) {
            m.output[(token + t) * m.output_stride + row + r * spacing] = add_lanes(sums[r][t]);
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

}  // namespace ingot::runtime::cpu::avx2

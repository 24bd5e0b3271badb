// Matrix products of the layouts whose scales each cover 32 elements.
//
// Weights become unsigned bytes u with w = scale * u + offset, so that VPDPBUSD multiplies them with the
// signed activations: 64 weights, two blocks, in one instruction. For 16 blocks at a time
//     y += Σ_b (scale[b] * x.scales[b]) * dot(u, x.quants)  +  Σ_b offset[b] * x.sums[b]
// where the second sum is one multiply-add of vectors. Dots are exact; floats are added up in 16 lanes.
#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/avx512/layouts_32.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

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
            if constexpr (T == 1) {  // a line or two with each pair, not all at once
                for (int64_t at = 32 * i; at < Layout::kBytesOf16; at += 512) {
                    _mm_prefetch(rows[r] + b / 16 * Layout::kBytesOf16 + at + kPrefetchBytes, _MM_HINT_T0);
                }
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

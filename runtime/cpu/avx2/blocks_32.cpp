// Matrix products of the layouts whose scales each cover 32 elements.
//
// Weights of 4 and 5 bits become unsigned bytes u with w = scale * u + offset; VPMADDUBSW multiplies them
// with the signed activations and adds up pairs in 16 bits (at most 2 * 31 * 127). Weights of 8 bits stay
// signed (offset 0): their magnitude meets the activation times their sign (at most 2 * 128 * 127). For 8
// blocks at a time
//     y += Σ_b (scale[b] * x.scales[b]) * dot(u, x.quants)  +  Σ_b offset[b] * x.sums[b]
// Dots are exact; floats are added up in 8 lanes.
#include "runtime/cpu/avx2/layouts_32.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

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

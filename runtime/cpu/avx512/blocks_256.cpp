// Matrix products of the layouts with super-blocks of 256 elements (Q2_K … Q6_K).
//
// With w = d * scale[s] * (u - zero) - dmin * min[s], u unsigned and s = i / 16, a super-block contributes
//     x.scale * ( d * Σ_s scale[s] * (dot(u, x.quants) - zero * x.sums[s])  -  dmin * Σ_s min[s] * x.sums[s]
//     )
// VPMADDUBSW multiplies 64 weights and adds up pairs in 16 bits (at most 2 * 63 * 127: no saturation),
// VPDPWSSD multiplies the pairs with their scales and accumulates in 32 bits. The integers of a super-block
// are exact; super-blocks are added up as floats in 16 lanes.
#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/avx512/layouts_256.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

// ── The product ─────────────────────────────────────────────────────────────────────────────────────────

template <typename Layout>
INGOT_INLINE __m512 add_block(const Parts& parts, const ActivationBlock256& x, __m512 sum) {
    const __m256i sums = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x.sums));
    const __m256i minimums = _mm256_madd_epi16(Layout::kHasMin ? parts.minimums : parts.scales, sums);
    __m512i products = _mm512_setzero_si512();
    if constexpr (Layout::kZero != 0) {
        constexpr int kZeroBits = __builtin_ctz(Layout::kZero);
        static_assert(Layout::kZero == 1 << kZeroBits);
        products = _mm512_zextsi256_si512(
            _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(minimums, kZeroBits)));
    }
    for (int k = 0; k < 4; ++k) {
        const __m512i pairs = _mm512_maddubs_epi16(parts.quants[k], _mm512_loadu_si512(x.quants + 64 * k));
        products = _mm512_dpwssd_epi32(products, pairs, scales_of_pairs<Layout>(parts, k));
    }
    __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(products), parts.d);
    if constexpr (Layout::kHasMin) {
        value = _mm512_fnmadd_ps(_mm512_zextps256_ps512(_mm256_cvtepi32_ps(minimums)), parts.dmin, value);
    }
    return _mm512_fmadd_ps(value, _mm512_set1_ps(x.scale), sum);
}

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    using Block = typename Layout::Block;
    const Block* rows[R];
    const ActivationBlock256* x[T];
    __m512 sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = reinterpret_cast<const Block*>(row_of(m, row + r * spacing));
    for (int t = 0; t < T; ++t) {
        x[t] = reinterpret_cast<const ActivationBlock256*>(activations_of(m, token + t));
    }
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = _mm512_setzero_ps();
    }
    for (int64_t b = 0; b < m.n_in / 256; ++b) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {  // unrolled, or the sums would live in memory
            if constexpr (T == 1) {
                prefetch(reinterpret_cast<const uint8_t*>(rows[r] + b) + kPrefetchBytes, sizeof(Block));
            }
            Parts parts;
            Layout::take_apart(rows[r][b], parts);
            for (int t = 0; t < T; ++t) sums[r][t] = add_block<Layout>(parts, x[t][b], sums[r][t]);
        }
    }
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

void matmul_q2_k(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q2_K>());
}
void matmul_q3_k(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q3_K>());
}
void matmul_q4_k(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q4_K>());
}
void matmul_q5_k(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q5_K>());
}
void matmul_q6_k(const MatmulArguments& m) {
    for_each_tile(m, Tiles<Q6_K>());
}

}  // namespace ingot::runtime::cpu::avx512

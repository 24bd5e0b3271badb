// Matrix products of the layouts with super-blocks of 256 elements (Q2_K … Q6_K). A super-block contributes
//     x.scale * ( d * Σ_g scale[g] * (dot(u, x.quants) - kZero * Σ x.quants)  -  dmin * Σ_g min[g] * Σ
//     x.quants )
// where Σ x.quants, of a group, is known from the activations. SDOT multiplies u, which fits into signed
// bytes; the dots of 4 groups become one vector by pairwise additions, and meet their scales in it. The
// integers of a super-block are exact; super-blocks are added up as floats in 4 lanes.
#include "runtime/cpu/neon/layouts_256.h"

namespace ingot::runtime::cpu::neon {
namespace {

INGOT_INLINE int32x4_t widened(const int16x8_t (&v)[2], int quarter) {
    const int16x8_t eight = v[quarter / 2];
    return quarter % 2 == 0 ? vmovl_s16(vget_low_s16(eight)) : vmovl_s16(vget_high_s16(eight));
}

// Σ_g min[g] * Σ x.quants, in 4 lanes.
template <typename Layout>
INGOT_INLINE int32x4_t multiply_sums(const Parts& parts, const ActivationBlock256& x) {
    int16x8_t sums[2] = {vld1q_s16(x.sums), vld1q_s16(x.sums + 8)};
    constexpr int n_vectors = Layout::kGroup == 16 ? 2 : 1;
    if constexpr (n_vectors == 1) sums[0] = vpaddq_s16(sums[0], sums[1]);  // at most 32 * 127
    int32x4_t products = vdupq_n_s32(0);
    for (int i = 0; i < n_vectors; ++i) {
        products = vmlal_s16(products, vget_low_s16(parts.minimums[i]), vget_low_s16(sums[i]));
        products = vmlal_high_s16(products, parts.minimums[i], sums[i]);
    }
    return products;
}

template <typename Layout>
INGOT_INLINE float32x4_t add_block(const Parts& parts, const ActivationBlock256& x, float32x4_t sum) {
    constexpr int kVectors = Layout::kGroup / 16;  // of a group
    const int32x4_t minimums = multiply_sums<Layout>(parts, x);
    int32x4_t products = vdupq_n_s32(0);
    if constexpr (Layout::kZero != 0) products = vmulq_n_s32(minimums, -Layout::kZero);
#pragma GCC unroll 4
    for (int quarter = 0; quarter < 4 / kVectors; ++quarter) {
        int32x4_t dots[4];
        for (int i = 0; i < 4; ++i) {
            dots[i] = vdupq_n_s32(0);
            for (int v = 0; v < kVectors; ++v) {
                const int k = (4 * quarter + i) * kVectors + v;
                dots[i] =
                    vdotq_s32(dots[i], vreinterpretq_s8_u8(parts.quants[k]), vld1q_s8(x.quants + 16 * k));
            }
        }
        const int32x4_t of_groups = vpaddq_s32(vpaddq_s32(dots[0], dots[1]), vpaddq_s32(dots[2], dots[3]));
        products = vmlaq_s32(products, of_groups, widened(parts.scales, quarter));
    }
    sum = vfmaq_n_f32(sum, vcvtq_f32_s32(products), parts.d * x.scale);
    if constexpr (Layout::kHasMin) sum = vfmsq_n_f32(sum, vcvtq_f32_s32(minimums), parts.dmin * x.scale);
    return sum;
}

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    using Block = typename Layout::Block;
    const Block* rows[R];
    const ActivationBlock256* x[T];
    float32x4_t sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = reinterpret_cast<const Block*>(row_of(m, row + r * spacing));
    for (int t = 0; t < T; ++t) {
        x[t] = reinterpret_cast<const ActivationBlock256*>(activations_of(m, token + t));
    }
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = vdupq_n_f32(0);
    }
    for (int64_t b = 0; b < m.n_in / 256; ++b) {
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
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
            m.output[(token + t) * m.output_stride + row + r * spacing] = vaddvq_f32(sums[r][t]);
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

}  // namespace ingot::runtime::cpu::neon

// Matrix products of the layouts whose scales each cover 32 elements.
//
// SDOT adds up four products of signed bytes in each lane of 32 bits. The sums of 4 blocks become one vector
// by pairwise additions, a lane for each block, and then
//     y += Σ_b (scale[b] * x.scales[b]) * dot(q, x.quants)  +  Σ_b offset[b] * x.sums[b]
// Dots are exact; floats are added up in 4 lanes.
#include "runtime/cpu/neon/layouts_32.h"

namespace ingot::runtime::cpu::neon {
namespace {

// Adds n ≤ 4 blocks from block b on to sums, for R rows and T tokens.
template <typename Layout, int R, int T>
INGOT_INLINE void add_blocks(const uint8_t* const (&rows)[R], const ActivationRow32 (&x)[T], int64_t b, int n,
                             float32x4_t (&sums)[R][T]) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
        float32x4_t scale, offset;
        Layout::factors(rows[r], b, n, scale, offset);
        Quants32 weights[4];
        for (int i = 0; i < 4; ++i) {
            weights[i] = i < n ? Layout::quants(rows[r], b + i) : Quants32{vdupq_n_s8(0), vdupq_n_s8(0)};
        }
        for (int t = 0; t < T; ++t) {
            int32x4_t dots[4];
            for (int i = 0; i < 4; ++i) {
                dots[i] = vdupq_n_s32(0);
                if (i >= n) continue;
                const int8_t* quants = x[t].quants + 32 * (b + i);
                dots[i] = vdotq_s32(dots[i], weights[i].first, vld1q_s8(quants));
                dots[i] = vdotq_s32(dots[i], weights[i].second, vld1q_s8(quants + 16));
            }
            const int32x4_t of_blocks =
                vpaddq_s32(vpaddq_s32(dots[0], dots[1]), vpaddq_s32(dots[2], dots[3]));
            const float32x4_t factors = vmulq_f32(scale, load_floats(x[t].scales + b, n));
            sums[r][t] = vfmaq_f32(sums[r][t], factors, vcvtq_f32_s32(of_blocks));
            if constexpr (Layout::kHasOffset) {
                sums[r][t] = vfmaq_f32(sums[r][t], offset, load_floats(x[t].sums + b, n));
            }
        }
    }
}

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    const uint8_t* rows[R];
    ActivationRow32 x[T];
    float32x4_t sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = row_of(m, row + r * spacing);
    for (int t = 0; t < T; ++t) x[t] = activation_row_32(activations_of(m, token + t), m.n_in);
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = vdupq_n_f32(0);
    }
    const int64_t n_blocks = m.n_in / 32;
    int64_t b = 0;
    for (; b + 4 <= n_blocks; b += 4) {
        if constexpr (T == 1) {
            const size_t ahead = size_t(b / 4 * Layout::kBytesOf4) + size_t(kPrefetchBytes);
            for (int r = 0; r < R; ++r) prefetch(rows[r] + ahead, size_t(Layout::kBytesOf4));
        }
        add_blocks<Layout, R, T>(rows, x, b, 4, sums);
    }
    if (b < n_blocks) add_blocks<Layout, R, T>(rows, x, b, int(n_blocks - b), sums);
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

}  // namespace ingot::runtime::cpu::neon

// Matrix products of weights that are floats: F32, F16, BF16. Weights are widened to float, products are
// fused multiply-adds in 4 lanes.
#include "runtime/cpu/neon/layouts_plain.h"

namespace ingot::runtime::cpu::neon {
namespace {

// Two sums for each output, or the multiply-adds of one row would wait for each other.
template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    const uint8_t* rows[R];
    const float* x[T];
    float32x4_t sums[2][R][T];
    for (int r = 0; r < R; ++r) rows[r] = row_of(m, row + r * spacing);
    for (int t = 0; t < T; ++t) x[t] = reinterpret_cast<const float*>(activations_of(m, token + t));
    for (auto& half : sums) {
        for (int r = 0; r < R; ++r) {
            for (int t = 0; t < T; ++t) half[r][t] = vdupq_n_f32(0);
        }
    }
    const auto step = [&](int64_t i, int64_t n, float32x4_t(&to)[R][T]) {
        float32x4_t activations[T];
        for (int t = 0; t < T; ++t) activations[t] = load_floats(x[t] + i, n);
        for (int r = 0; r < R; ++r) {
            const float32x4_t weights = Layout::load(rows[r], i, n);
            for (int t = 0; t < T; ++t) to[r][t] = vfmaq_f32(to[r][t], weights, activations[t]);
        }
    };
    int64_t i = 0;
    for (; i + 8 <= m.n_in; i += 8) {
        if constexpr (T == 1) {
            for (int r = 0; r < R; ++r) __builtin_prefetch(rows[r] + i * Layout::kBytes + kPrefetchBytes);
        }
        step(i, 4, sums[0]);
        step(i + 4, 4, sums[1]);
    }
    for (; i < m.n_in; i += 4) step(i, m.n_in - i, sums[0]);
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) {
            m.output[(token + t) * m.output_stride + row + r * spacing] =
                vaddvq_f32(vaddq_f32(sums[0][r][t], sums[1][r][t]));
        }
    }
}

template <typename Layout>
struct Tiles {
    template <int T>
    static constexpr int kRows = T == 8   ? 1
                                 : T == 4 ? 2
                                          : 4;  // 2 × 4 … 2 × 8 sums
    template <int R, int T>
    void run(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) const {
        tile<Layout, R, T>(m, row, spacing, token);
    }
};

}  // namespace

void matmul_f32(const MatmulArguments& m) {
    for_each_tile(m, Tiles<F32>());
}
void matmul_f16(const MatmulArguments& m) {
    for_each_tile(m, Tiles<F16>());
}
void matmul_bf16(const MatmulArguments& m) {
    for_each_tile(m, Tiles<BF16>());
}

}  // namespace ingot::runtime::cpu::neon

// Matrix products of weights that are floats: F32, F16, BF16. Weights are widened to float, products are
// fused multiply-adds in 8 lanes.
#include "runtime/cpu/avx2/layouts_plain.h"

namespace ingot::runtime::cpu::avx2 {
namespace {

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    const uint8_t* rows[R];
    const float* x[T];
    __m256 sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = row_of(m, row + r * spacing);
    for (int t = 0; t < T; ++t) x[t] = reinterpret_cast<const float*>(activations_of(m, token + t));
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = _mm256_setzero_ps();
    }
    int64_t i = 0;
    for (; i + 8 <= m.n_in; i += 8) {
        __m256 activations[T];
        for (int t = 0; t < T; ++t) activations[t] = _mm256_loadu_ps(x[t] + i);
        for (int r = 0; r < R; ++r) {
            if constexpr (T == 1) _mm_prefetch(rows[r] + i * Layout::kBytes + kPrefetchBytes, _MM_HINT_T0);
            const __m256 weights = Layout::load(rows[r], i);
            for (int t = 0; t < T; ++t) sums[r][t] = _mm256_fmadd_ps(weights, activations[t], sums[r][t]);
        }
    }
    if (const int64_t n = m.n_in - i; n > 0) {
        for (int r = 0; r < R; ++r) {
            const __m256 weights = Layout::load(rows[r], i, n);
            for (int t = 0; t < T; ++t) {
                sums[r][t] = _mm256_fmadd_ps(weights, _mm256_maskload_ps(x[t] + i, lanes(n)), sums[r][t]);
            }
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) {
            m.output[(token + t) * m.output_stride + row + r * spacing] = add_lanes(sums[r][t]);
        }
    }
}

template <typename Layout>
struct Tiles {
    template <int T>
    static constexpr int kRows = T == 8   ? 1
                                 : T == 4 ? 2
                                          : 4;  // at most 8 sums
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

}  // namespace ingot::runtime::cpu::avx2

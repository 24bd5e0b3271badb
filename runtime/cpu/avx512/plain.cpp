// Matrix products of weights that are floats: F32, F16, BF16. Weights are widened to float, products are
// fused multiply-adds in 16 lanes.
#include "runtime/cpu/avx512/layouts_plain.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

template <typename Layout, int R, int T>
static void tile(const MatmulArguments& m, int64_t row, int64_t spacing, int64_t token) {
    const uint8_t* rows[R];
    const float* x[T];
    __m512 sums[R][T];
    for (int r = 0; r < R; ++r) rows[r] = row_of(m, row + r * spacing);
    for (int t = 0; t < T; ++t) x[t] = reinterpret_cast<const float*>(activations_of(m, token + t));
    for (int r = 0; r < R; ++r) {
        for (int t = 0; t < T; ++t) sums[r][t] = _mm512_setzero_ps();
    }
    int64_t i = 0;
    for (; i + 32 <= m.n_in; i += 32) {
        if constexpr (T == 1) {
            for (int r = 0; r < R; ++r)
                prefetch(rows[r] + i * Layout::kBytes + kPrefetchBytes, 32 * Layout::kBytes);
        }
        for (int64_t j = i; j < i + 32; j += 16) {
            __m512 activations[T];
            for (int t = 0; t < T; ++t) activations[t] = _mm512_loadu_ps(x[t] + j);
            for (int r = 0; r < R; ++r) {
                const __m512 weights = Layout::load(rows[r], j);
                for (int t = 0; t < T; ++t) sums[r][t] = _mm512_fmadd_ps(weights, activations[t], sums[r][t]);
            }
        }
    }
    for (; i < m.n_in; i += 16) {
        const __mmask16 mask = lanes(m.n_in - i);
        for (int r = 0; r < R; ++r) {
            const __m512 weights = Layout::load(mask, rows[r], i);
            for (int t = 0; t < T; ++t) {
                sums[r][t] = _mm512_fmadd_ps(weights, _mm512_maskz_loadu_ps(mask, x[t] + i), sums[r][t]);
            }
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
    static constexpr int kRows = T == 8 ? 2 : 4;  // at most 16 sums
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

}  // namespace ingot::runtime::cpu::avx512

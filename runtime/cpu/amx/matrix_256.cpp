// Products with many tokens for the layouts with super-blocks of 256 elements; see matrix.h.
#include "runtime/cpu/amx/matrix_quantized.h"
#include "runtime/cpu/avx512/layouts_256.h"

namespace ingot::runtime::cpu::amx {
namespace {

template <typename Layout>
struct SuperBlocks {
    static constexpr int kTerms = 1;

    template <typename Tiles>
    INGOT_INLINE void unpack(const uint8_t* const (&rows)[kTileRows], int64_t input, int64_t n,
                             Tiles&& tiles) {
        for (int64_t i = 0; i < n; i += 256) {
            __m512i bytes[4][kTileRows];
            __m512 scales[16], offsets[16];  // of a row each, then of a group each
            for (int r = 0; r < kTileRows; ++r) {
                const auto* blocks = reinterpret_cast<const typename Layout::Block*>(rows[r]);
                avx512::Parts parts;
                Layout::take_apart(blocks[(input + i) / 256], parts);
                for (int k = 0; k < 4; ++k) bytes[k][r] = parts.quants[k];
                scales[r] = _mm512_mul_ps(parts.d, to_floats(scales_in_order(parts)));
                offsets[r] = _mm512_mul_ps(scales[r], _mm512_set1_ps(-float(Layout::kZero)));
                if constexpr (Layout::kHasMin)
                    offsets[r] = _mm512_fnmadd_ps(parts.dmin, to_floats(parts.minimums), offsets[r]);
            }
            avx512::transpose(scales);
            avx512::transpose(offsets);
            for (int k = 0; k < 4; ++k) {
                const auto factors = [&](int group) {
                    return Factors{scales[4 * k + group], offsets[4 * k + group]};
                };
                const int64_t step = i / kStepInputs + 2 * k;
                dequantize(bytes[k], {factors(0), factors(1), factors(2), factors(3)}, 2,
                           {tiles(step, 0), tiles(step + 1, 0)});
            }
        }
    }

    INGOT_INLINE __m512 to_floats(__m256i integers) {
        return _mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(integers));
    }

    // Of each group of 16.
    INGOT_INLINE __m256i scales_in_order(const avx512::Parts& parts) {
        const auto place = avx512::scale_place<Layout>;
        return _mm256_permutexvar_epi16(_mm256_setr_epi16(place(0), place(1), place(2), place(3), place(4),
                                                          place(5), place(6), place(7),  //
                                                          place(8), place(9), place(10), place(11), place(12),
                                                          place(13), place(14), place(15)),
                                        parts.scales);
    }
};

}  // namespace

void matrix_q2_k(const MatmulArguments& m) {
    multiply_matrix<SuperBlocks<avx512::Q2_K>, 1>(m);
}
void matrix_q3_k(const MatmulArguments& m) {
    multiply_matrix<SuperBlocks<avx512::Q3_K>, 1>(m);
}
void matrix_q4_k(const MatmulArguments& m) {
    multiply_matrix<SuperBlocks<avx512::Q4_K>, 1>(m);
}
void matrix_q5_k(const MatmulArguments& m) {
    multiply_matrix<SuperBlocks<avx512::Q5_K>, 1>(m);
}
void matrix_q6_k(const MatmulArguments& m) {
    multiply_matrix<SuperBlocks<avx512::Q6_K>, 1>(m);
}

}  // namespace ingot::runtime::cpu::amx

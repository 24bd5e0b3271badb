// Products with many tokens for the layouts whose scales each cover 32 elements; see matrix.h.
#include "runtime/cpu/amx/matrix_quantized.h"
#include "runtime/cpu/avx512/layouts_32.h"

namespace ingot::runtime::cpu::amx {
namespace {

template <typename Layout>
struct Blocks32 {
    static constexpr int kTerms = 1;

    template <typename Tiles>
    INGOT_INLINE void unpack(const uint8_t* const (&rows)[kTileRows], int64_t input, int64_t n,
                             Tiles&& tiles) {
        const int64_t first = input / 32;
        const int n_blocks = int(n / 32);
        __m512 scales[16], offsets[16];  // of a row each, then of a block each
        for (int r = 0; r < kTileRows; ++r) Layout::factors(rows[r], first, n_blocks, scales[r], offsets[r]);
        avx512::transpose(scales);
        avx512::transpose(offsets);
        for (int b = 0; b < n_blocks; b += 2) {
            const bool both = b + 1 < n_blocks;
            __m512i bytes[kTileRows];
            for (int r = 0; r < kTileRows; ++r) {
                bytes[r] = both ? Layout::template quants<true>(rows[r], first + b)
                                : Layout::template quants<false>(rows[r], first + b);
            }
            const Factors even{scales[b], offsets[b]}, odd{scales[b + both], offsets[b + both]};
            dequantize(bytes, {even, even, odd, odd}, 1 + both, {tiles(b, 0), tiles(b + both, 0)});
        }
    }
};

}  // namespace

void matrix_q4_0(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::Q4_0>, 1>(m);
}
void matrix_q4_1(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::Q4_1>, 1>(m);
}
void matrix_q5_0(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::Q5_0>, 1>(m);
}
void matrix_q5_1(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::Q5_1>, 1>(m);
}
void matrix_q8_0(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::Q8_0>, 1>(m);
}
void matrix_iq4_nl(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::IQ4_NL>, 1>(m);
}
void matrix_iq4_xs(const MatmulArguments& m) {
    multiply_matrix<Blocks32<avx512::IQ4_XS>, 1>(m);
}

}  // namespace ingot::runtime::cpu::amx

#pragma once
// Products with many tokens by tile registers; see runtime/cpu/panels.h. A panel is 32 outputs, a tile of
// activations 32 tokens: four tiles of sums, and two each of activations and weights, are all eight
// registers.
//
// Quantized weights are rounded to BF16, and so are their activations: together that is half the error
// that activations of 8 bits have. Floats are sums of two BF16 where one does not hold them, and only the
// products of the two smaller terms, 2^-16 of the whole, are left out.
#include "runtime/cpu/amx/tiles.h"
#include "runtime/cpu/avx512/panel.h"

namespace ingot::runtime::cpu::amx {
namespace {

constexpr int64_t kMatrixRows = 2 * kTileRows;
static_assert(kTileTokens == 2 * kTileRows);

/// Of a panel's rows and a tile's tokens.
struct MatrixSums {
    alignas(64) float of[2][2][kTileRows][kTileRows];  // half of the tokens, half of the rows, token, row
};

/// 16 rows' 32 inputs, as they stand in a file's row -> as the second operand of a product wants them.
INGOT_INLINE void store_weights(__m512i (&rows)[kTileRows], std::byte* tile) {
    avx512::transpose(rows);
    for (int i = 0; i < kTileRows; ++i) _mm512_store_si512(tile + kTileRowBytes * i, rows[i]);
}

/// `Layout` has kTerms, the terms that a weight is made of, and
///     unpack(rows, input, n, tiles)   n ≤ Matrix::kInputs inputs of 16 rows; tiles(s, t) is where step s's
///                                     term t of them goes
/// kInputTerms are those of the activations.
template <typename Layout, int kInputTerms>
struct Matrix {
    static constexpr int kTerms = Layout::kTerms;
    static constexpr int64_t kRows = kMatrixRows, kTokens = kTileTokens;
    // 16 KiB, and as much of a tile of activations: the first-level cache holds both.
    static constexpr int64_t kInputs = 256 / kTerms;
    using Sums = MatrixSums;

    alignas(64) std::byte weights[kInputs / kStepInputs][kTerms][2][kTileBytes];

    INGOT_INLINE void unpack(Matrix& panel, const MatmulArguments& m, int64_t row, int64_t input, int64_t n) {
        for (int half = 0; half < 2; ++half) {
            const uint8_t* rows[kTileRows];
            for (int i = 0; i < kTileRows; ++i) rows[i] = lane_row(m, row + half * kTileRows + i);
            Layout::unpack(rows, input, n,
                           [&](int64_t step, int term) { return panel.weights[step][term][half]; });
        }
    }

    /// Adds the products of two tiles of activations and two of weights.
    INGOT_INLINE void add_all() {
        add_products<0, 4, 6>();
        add_products<1, 4, 7>();
        add_products<2, 5, 6>();
        add_products<3, 5, 7>();
    }

    // Not inline: the compiler knows nothing of the tile registers.
    [[gnu::noinline]] static void multiply(const Matrix& panel, const uint8_t* tile, int64_t input, int64_t n,
                                           bool is_first, Sums& sums) {
        if (is_first) {
            clear_tile<0>(), clear_tile<1>(), clear_tile<2>(), clear_tile<3>();
        } else {
            load_tile<0>(sums.of[0][0]), load_tile<1>(sums.of[0][1]);
            load_tile<2>(sums.of[1][0]), load_tile<3>(sums.of[1][1]);
        }
        const uint8_t* x = tile + input / kStepInputs * (kInputTerms * 2 * kTileBytes);
        for (int64_t step = 0; step * kStepInputs < n; ++step, x += kInputTerms * 2 * kTileBytes) {
            const auto& weights = panel.weights[step];
            load_tile<6>(weights[0][0]), load_tile<7>(weights[0][1]);
            if constexpr (kInputTerms == 2) {
                load_tile<4>(x + 2 * kTileBytes), load_tile<5>(x + 3 * kTileBytes);
                add_all();
            }
            load_tile<4>(x), load_tile<5>(x + kTileBytes);
            add_all();
            if constexpr (kTerms == 2) {
                load_tile<6>(weights[1][0]), load_tile<7>(weights[1][1]);
                add_all();
            }
        }
        store_tile<0>(sums.of[0][0]), store_tile<1>(sums.of[0][1]);
        store_tile<2>(sums.of[1][0]), store_tile<3>(sums.of[1][1]);
    }

    INGOT_INLINE void store(const MatmulArguments& m, int64_t row, int64_t token, const Sums& sums) {
        for (int half = 0; half < 2; ++half) {
            const int64_t n_rows = m.n_rows - row - half * kTileRows;
            if (n_rows <= 0) break;
            const __mmask16 mask = avx512::lanes(n_rows);
            for (int64_t t = 0; t < kTileTokens && token + t < m.n_tokens; ++t) {
                _mm512_mask_storeu_ps(m.output + (token + t) * m.output_stride + row + half * kTileRows, mask,
                                      _mm512_load_ps(sums.of[t / kTileRows][half][t % kTileRows]));
            }
        }
    }
};

template <typename Layout, int kInputTerms>
static void multiply_matrix(const MatmulArguments& m) {
    const TileRegisters registers;
    multiply_panels<Matrix<Layout, kInputTerms>, 8>(m);
}

}  // namespace
}  // namespace ingot::runtime::cpu::amx

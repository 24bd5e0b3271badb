#pragma once
// Products with many tokens, as BLAS does them: weights are unpacked once into a panel whose vectors hold one
// step of 16 rows, so that a lane is an output and nothing is added up across lanes; the panel stays in the
// first-level cache while a block of tokens passes by, tile by tile. What the tiles have been given so far
// waits in the second-level cache until the rows are at their end: outputs are written once.
#include "runtime/cpu/avx512/avx512.h"

namespace ingot::runtime::cpu::avx512 {
namespace {

constexpr int kPanelLanes = 16;                          // rows of a vector
constexpr int kPanelVectors = 2;                         // of rows
constexpr int kPanelRows = kPanelVectors * kPanelLanes;  // 32

/// Sums of the outputs of a panel's rows and the tokens of a tile.
template <int kTokens>
struct TileSums {
    __m512 of[kPanelVectors][kTokens];
};

template <int kTokens>
INGOT_INLINE void clear(TileSums<kTokens>& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        for (int t = 0; t < kTokens; ++t) sums.of[v][t] = _mm512_setzero_ps();
    }
}

/// 16 vectors of 16 numbers -> the 16 vectors of their first, second … numbers.
INGOT_INLINE void transpose(__m512i (&rows)[16]) {
    __m512i pairs[16], fours[16], eights[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    for (int i = 0; i < 16; i += 8) {
        for (int j = 0; j < 4; ++j) {
            eights[i + j] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0x88);
            eights[i + j + 4] = _mm512_shuffle_i32x4(fours[i + j], fours[i + j + 4], 0xdd);
        }
    }
    for (int j = 0; j < 8; ++j) {
        rows[j] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0x88);
        rows[j + 8] = _mm512_shuffle_i32x4(eights[j], eights[j + 8], 0xdd);
    }
}

INGOT_INLINE void transpose(__m512 (&rows)[16]) {
    __m512i bits[16];
    for (int i = 0; i < 16; ++i) bits[i] = _mm512_castps_si512(rows[i]);
    transpose(bits);
    for (int i = 0; i < 16; ++i) rows[i] = _mm512_castsi512_ps(bits[i]);
}

/// The row of a panel's lane: beyond the last row, the last one again, whose output is not stored.
INGOT_INLINE const uint8_t* lane_row(const MatmulArguments& m, int64_t row) {
    return row_of(m, row < m.n_rows ? row : m.n_rows - 1);
}

/// Fetches the weights of the panel that comes next into the second-level cache, a few lines with each tile:
/// pieces of 32 rows are too short for the processor's own prefetchers.
class NextPanel {
  public:
    // The panel of n_inputs or fewer that begins at this row and input; beyond the last row there is none.
    INGOT_INLINE NextPanel make(const MatmulArguments& m, int64_t row, int64_t input, int64_t n_inputs,
                                int64_t n_tiles) {
        NextPanel next;
        const int64_t n_rows = m.n_rows - row < kPanelRows ? m.n_rows - row : kPanelRows;
        if (n_rows <= 0) return next;
        if (n_inputs > m.n_in - input) n_inputs = m.n_in - input;
        next.row_ = row_of(m, row) + m.weight_stride * size_t(input) / size_t(m.n_in);
        next.stride_ = m.weight_stride;
        next.n_rows_ = n_rows;
        next.row_bytes_ = int64_t(m.weight_stride * size_t(n_inputs) / size_t(m.n_in));
        const int64_t n_lines = n_rows * (next.row_bytes_ / kLine + 1);
        next.lines_each_ = (n_lines + n_tiles - 1) / n_tiles;
        return next;
    }
    INGOT_INLINE void fetch(NextPanel& next) {
        for (int64_t i = 0; i < next.lines_each_ && next.n_rows_ > 0; ++i) {
            _mm_prefetch(next.row_ + next.at_, _MM_HINT_T1);
            next.at_ += kLine;
            if (next.at_ < next.row_bytes_ + kLine) continue;
            next.at_ = 0;
            next.row_ += next.stride_;
            --next.n_rows_;
        }
    }

  private:
    static constexpr int64_t kLine = 64;  // bytes
    const uint8_t* row_ = nullptr;
    size_t stride_ = 0;
    int64_t n_rows_ = 0, row_bytes_ = 0, at_ = 0, lines_each_ = 0;
};

/// Asks for the cache lines that store_tile() will write: they are a row of the output apart, so each has to
/// be looked up, and read before it is written.
template <int kTokens>
INGOT_INLINE void prefetch_outputs(const MatmulArguments& m, int64_t row, int64_t token) {
    for (int t = 0; t < kTokens && token + t < m.n_tokens; ++t) {
        const float* to = m.output + (token + t) * m.output_stride + row;
        for (int v = 0; v < kPanelVectors; ++v) __builtin_prefetch(to + v * kPanelLanes, 1);
    }
}

template <int kTokens>
INGOT_INLINE void store_tile(const MatmulArguments& m, int64_t row, int64_t token,
                             const TileSums<kTokens>& sums) {
    for (int v = 0; v < kPanelVectors; ++v) {
        const int64_t n_rows = m.n_rows - row - v * kPanelLanes;
        if (n_rows <= 0) break;
        const __mmask16 mask = lanes(n_rows);
        for (int t = 0; t < kTokens && token + t < m.n_tokens; ++t) {
            _mm512_mask_storeu_ps(m.output + (token + t) * m.output_stride + row + v * kPanelLanes, mask,
                                  sums.of[v][t]);
        }
    }
}

/// The product by panels of one kind. `Panel` holds kInputs inputs of kPanelRows rows, and says
///     unpack(panel, m, row, input, n)                  from these rows and inputs, n ≤ kInputs
///     multiply(panel, tile, input, n, is_first, sums)  sums (set if is_first) += panel · n inputs of a tile
///
/// kInputs inputs of a block of tokens stay in the second-level cache while the panels of a group of rows
/// meet them one after the other; so do the sums of all these panels.
template <typename Panel>
static void multiply_panels(const MatmulArguments& m) {
    constexpr int64_t kTokens = Panel::kTokens;
    constexpr int64_t kBlockTiles = (512 + kTokens - 1) / kTokens;  // 64 KiB of sums for each panel
    constexpr int64_t kGroupPanels = 4;
    constexpr int64_t kGroupRows = kGroupPanels * kPanelRows;
    Panel panel;
    TileSums<kTokens> sums[kGroupPanels][kBlockTiles];
    const int64_t n_tiles = (m.n_tokens + kTokens - 1) / kTokens;
    for (int64_t first = 0; first < n_tiles; first += kBlockTiles) {
        const int64_t end = n_tiles - first < kBlockTiles ? n_tiles : first + kBlockTiles;
        for (int64_t group = 0; group < m.n_rows; group += kGroupRows) {
            const int64_t group_end = m.n_rows - group < kGroupRows ? m.n_rows : group + kGroupRows;
            for (int64_t input = 0; input < m.n_in; input += Panel::kInputs) {
                const int64_t n = m.n_in - input < Panel::kInputs ? m.n_in - input : Panel::kInputs;
                const bool is_last = input + n == m.n_in;
                for (int64_t row = group; row < group_end; row += kPanelRows) {
                    TileSums<kTokens>* const of_panel = sums[(row - group) / kPanelRows];
                    Panel::unpack(panel, m, row, input, n);
                    NextPanel next = row + kPanelRows < group_end
                                         ? NextPanel::make(m, row + kPanelRows, input, n, end - first)
                                     : is_last
                                         ? NextPanel::make(m, group_end, 0, Panel::kInputs, end - first)
                                         : NextPanel::make(m, group, input + n, Panel::kInputs, end - first);
                    for (int64_t tile = first; tile < end; ++tile) {
                        TileSums<kTokens>& of_tile = of_panel[tile - first];
                        NextPanel::fetch(next);
                        if (is_last) prefetch_outputs<kTokens>(m, row, tile * kTokens);
                        Panel::multiply(panel, activations_of(m, tile), input, n, input == 0, of_tile);
                        if (is_last) store_tile(m, row, tile * kTokens, of_tile);
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu::avx512

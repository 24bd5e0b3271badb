#pragma once
// Products with many tokens, as BLAS does them: weights are unpacked once into a panel whose vectors hold one
// step of several rows, so that a lane is an output and nothing is added up across lanes; the panel stays in
// the first-level cache while a block of tokens passes by, tile by tile. What the tiles have been given so
// far waits in the second-level cache until the rows are at their end: outputs are written once.
//
// Everything here is static: see tiles.h.
#include "runtime/cpu/tiles.h"

namespace ingot::runtime::cpu {
namespace {

/// Fetches the weights of the panel that comes next into the second-level cache, a few lines with each tile:
/// pieces of few rows are too short for the processor's own prefetchers.
class NextPanel {
  public:
    // The panel of most_rows and n_inputs, or fewer, that begins at this row and input; beyond the last row
    // there is none.
    INGOT_INLINE NextPanel make(const MatmulArguments& m, int64_t most_rows, int64_t row, int64_t input,
                                int64_t n_inputs, int64_t n_tiles) {
        NextPanel next;
        const int64_t n_rows = m.n_rows - row < most_rows ? m.n_rows - row : most_rows;
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
            __builtin_prefetch(next.row_ + next.at_, 0, 2);
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

/// Asks for the cache lines that the outputs of a tile will be written to: they are a row of the output
/// apart, so each has to be looked up, and read before it is written.
INGOT_INLINE void prefetch_outputs(const MatmulArguments& m, int64_t n_rows, int64_t row, int64_t n_tokens,
                                   int64_t token) {
    for (int64_t t = token; t < token + n_tokens && t < m.n_tokens; ++t) {
        const float* to = m.output + t * m.output_stride + row;
        for (int64_t i = 0; i < n_rows; i += 16) __builtin_prefetch(to + i, 1);
    }
}

/// The product by panels of one kind. `Panel` holds kInputs inputs of kRows rows, and says
///     unpack(panel, m, row, input, n)                  from these rows and inputs, n ≤ kInputs
///     multiply(panel, tile, input, n, is_first, sums)  sums (set if is_first) += panel · n inputs of a tile
///     store(m, row, token, sums)                       to the outputs of these rows and a tile's tokens
/// where Sums are the sums of its rows and the kTokens tokens of a tile.
///
/// kInputs inputs of a block of tokens stay in the second-level cache while the panels of a group of rows
/// meet them one after the other; so do the sums of all these panels, kGroupPanels of them.
template <typename Panel, int64_t kGroupPanels = 4>
static void multiply_panels(const MatmulArguments& m) {
    constexpr int64_t kRows = Panel::kRows, kTokens = Panel::kTokens;
    constexpr int64_t kBlockTiles = (512 + kTokens - 1) / kTokens;
    constexpr int64_t kGroupRows = kGroupPanels * kRows;
    Panel panel;
    typename Panel::Sums sums[kGroupPanels][kBlockTiles];
    const int64_t n_tiles = (m.n_tokens + kTokens - 1) / kTokens;
    for (int64_t first = 0; first < n_tiles; first += kBlockTiles) {
        const int64_t end = n_tiles - first < kBlockTiles ? n_tiles : first + kBlockTiles;
        for (int64_t group = 0; group < m.n_rows; group += kGroupRows) {
            const int64_t group_end = m.n_rows - group < kGroupRows ? m.n_rows : group + kGroupRows;
            for (int64_t input = 0; input < m.n_in; input += Panel::kInputs) {
                const int64_t n = m.n_in - input < Panel::kInputs ? m.n_in - input : Panel::kInputs;
                const bool is_last = input + n == m.n_in;
                for (int64_t row = group; row < group_end; row += kRows) {
                    auto* const of_panel = sums[(row - group) / kRows];
                    Panel::unpack(panel, m, row, input, n);
                    const bool is_group_end = row + kRows >= group_end;
                    const int64_t next_row = !is_group_end ? row + kRows : is_last ? group_end : group;
                    const int64_t next_input = !is_group_end ? input : is_last ? 0 : input + n;
                    NextPanel next =
                        NextPanel::make(m, kRows, next_row, next_input, Panel::kInputs, end - first);
                    for (int64_t tile = first; tile < end; ++tile) {
                        auto& of_tile = of_panel[tile - first];
                        NextPanel::fetch(next);
                        if (is_last) prefetch_outputs(m, kRows, row, kTokens, tile * kTokens);
                        Panel::multiply(panel, activations_of(m, tile), input, n, input == 0, of_tile);
                        if (is_last) Panel::store(m, row, tile * kTokens, of_tile);
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace ingot::runtime::cpu

#pragma once
// Some rows of a matrix on their way into blocks, with error feedback.
#include <span>
#include <vector>

#include "converters/quantize/feedback/block_codec.h"
#include "converters/quantize/feedback/error_feedback.h"

namespace ingot::converters::feedback {

class RowTile {
  public:
    /// rows (n_rows, n_columns). `curvature` and `codec` must outlive it.
    RowTile(const Curvature& curvature, const BlockCodec& codec, std::span<const float> rows);

    /// Chooses every block's scales when its chunk begins, for the values as they are by then, and rounds the
    /// columns in order; the columns behind take back what each rounding did.
    void round();
    /// Coordinate descent on (w - q) H (w - q)ᵀ: quants, integer scales and minimums, units, one at a time;
    /// a change is made only when it lowers the error. Ends after n_sweeps, or when nothing changes.
    void refine(int n_sweeps);
    /// The blocks, row after row.
    void store(std::span<std::byte> destination) const;

    /// Σ over the rows of (w - q) H (w - q)ᵀ, in units of the mean of H's diagonal.
    double error() const;

  private:
    void choose_scales(Index begin, Index size, const Matrix& left);
    void round_chunk(Index begin, Index size, Matrix& left, Matrix& errors);
    BlockParts& block(Index row, Index index) { return blocks_[size_t(row * n_blocks_ + index)]; }
    Matrix decoded() const;

    const Curvature& curvature_;
    const BlockCodec& codec_;
    Matrix target_;                   // (n_rows, n_columns)
    Index n_blocks_;                  // of a row
    std::vector<BlockParts> blocks_;  // (n_rows, n_blocks)
};

}  // namespace ingot::converters::feedback

#pragma once
// Tensors cut into tiles: the unit of work that bounds memory, whatever the model's size.
#include <cstdint>
#include <vector>

#include "converters/rows/tensor_rows.h"

namespace ingot::converters {

/// 1 MiB of floats stays in a core's second-level cache.
inline constexpr uint64_t kTileElements = 256 << 10;

/// A group of whole rows, or, where a row is longer than a tile, a piece of one.
struct Tile {
    size_t tensor = 0;  // position in the cursor's list
    uint64_t first_row = 0, n_rows = 0;
    uint64_t first_column = 0, n_columns = 0;  // all of them, unless n_rows is 1
    bool is_last = false;                      // of its tensor
    std::vector<Extent> extents;  // what it reads; of a piece of a row: those of the row, with its last piece

    uint64_t n_elements() const { return n_rows * n_columns; }
    /// The tile's values: (n_rows, n_columns).
    void read(const TensorRows& rows, float* values) const;
};

/// Hands out the tiles of some tensors, one tensor after the other, front to back. Empty tensors have none.
class TileCursor {
  public:
    explicit TileCursor(std::vector<const TensorRows*> tensors) : tensors_(std::move(tensors)) {}
    /// False when there is none left. The system starts to read what the tile needs.
    bool next(Tile& tile);

  private:
    std::vector<const TensorRows*> tensors_;
    size_t tensor_ = 0;
    uint64_t element_ = 0;  // of the tensor
};

/// Positions in `tensors`, sorted so that files are read from front to back, one after the other.
std::vector<size_t> reading_order(const std::vector<const TensorRows*>& tensors);

}  // namespace ingot::converters

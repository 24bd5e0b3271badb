#pragma once
// What happens to rows between the checkpoint and the file. Each is a view: it computes when it is read.
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "converters/rows/tensor_rows.h"

namespace ingot::converters {

/// Row i of the result is row source_row(i) of `rows`. The result has `n_rows` rows in one dimension. For a
/// vector, rows are its elements.
RowsPtr select_rows(RowsPtr rows, uint64_t n_rows, std::function<uint64_t(uint64_t)> source_row);

/// Rows (elements of a vector) first … first + n - 1: one of several matrices that the checkpoint fused.
RowsPtr slice_rows(RowsPtr rows, uint64_t first, uint64_t n);

/// The rows of each head move so that elements that Hugging Face's rotary embedding pairs up (i and i + h/2,
/// with h rows a head) become neighbours (2i and 2i + 1), as GGUF's "llama" has them. For biases too.
RowsPtr interleave_heads(RowsPtr rows, uint64_t n_heads);
/// Row `row` of interleaved heads of `head_rows` rows is this row of the source.
inline uint64_t interleaved_source_row(uint64_t row, uint64_t head_rows) {
    const uint64_t in_head = row % head_rows;
    return row - in_head + in_head / 2 + (in_head % 2) * (head_rows / 2);
}

/// One below the other, with equal row lengths; vectors end to end.
RowsPtr concatenate(std::string name, std::vector<RowsPtr> parts);
/// Equal shapes, along a new outermost dimension: experts.
RowsPtr stack(std::string name, std::vector<RowsPtr> parts);
/// Element (i, j) becomes (j, i), in each matrix of the outer dimensions. Twice is the source itself.
RowsPtr transpose(RowsPtr rows);
/// The same elements in the same order under another shape. Throws Error when their numbers differ.
RowsPtr reshape(RowsPtr rows, std::vector<uint64_t> shape);
/// `function` changes values in place; it gets them in pieces of any size, without a place.
RowsPtr map_values(RowsPtr rows, std::function<void(std::span<float>)> function);

}  // namespace ingot::converters

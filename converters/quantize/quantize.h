#pragma once
// float rows -> blocks. The one entry to all searches in fit/.
#include <cstddef>
#include <cstdint>
#include <span>

#include "format/tensor_type.h"

namespace ingot::converters {

/// True for the types that quantize_rows() can produce.
bool can_quantize(TensorType type);

/// Encodes `n_rows` rows of `row_elements` floats, (n_rows, row_elements), into `destination`
/// (n_rows * row_bytes(type, row_elements) bytes). F32, F16 and BF16 are rounded to nearest; block layouts
/// are fitted by the searches in fit/. `importance` is empty or (row_elements,): the weight of each column's
/// squared error, the same for every row. Deterministic: the same bytes for every thread and instruction set.
/// Rows are independent, so callers may split a tensor as they like. Thread-safe.
/// Throws Error, giving row and column, when a value is NaN or infinite (block layouts cannot hold them), or
/// when a finite value is too large for F16. Block layouts hold what is nearest: magnitudes beyond their
/// largest scale (a half, 65504) become the largest value, those far below the smallest (2^-24) become zero.
void quantize_rows(TensorType type, std::span<const float> source, std::span<std::byte> destination,
                   uint64_t row_elements, std::span<const float> importance = {});

}  // namespace ingot::converters

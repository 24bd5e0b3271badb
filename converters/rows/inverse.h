#pragma once
// The way back: from tensors of a file to the tensor that they were made of.
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "converters/rows/tensor_rows.h"

namespace ingot::converters {

/// One tensor of a file, and how it was made of its source.
struct Derived {
    RowsPtr rows;                           // as it is in the file
    std::function<RowsPtr(RowsPtr)> steps;  // source -> this
};

/// A tensor of `shape` of which `steps` would make all of these. No step needs an inverse of its own: tensors
/// whose elements say where they are go through the same steps, and show where each element ended up;
/// constant tensors show what is done to values. That covers whatever moves rows, transposes matrices and
/// adds to or multiplies values, and in small tensors every other order of elements. Throws Error when the
/// steps do not fit this shape, lose elements, or do something else.
RowsPtr invert(const std::string& name, const std::vector<uint64_t>& shape,
               const std::vector<Derived>& derived);

}  // namespace ingot::converters

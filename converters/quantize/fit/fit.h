#pragma once
// The searches, one for each block layout.
#include <cstddef>
#include <cstdint>

#include "format/tensor_type.h"

namespace ingot::converters::fit {

/// Fits `n_blocks` consecutive blocks. `x` and `weights` hold n_blocks * block_elements floats: finite
/// values, and positive weights of their squared errors.
using Fit = void (*)(const float* x, const float* weights, uint64_t n_blocks, std::byte* blocks);

/// The search for a layout on this machine, or null when there is none.
Fit find_fit(TensorType type);

}  // namespace ingot::converters::fit

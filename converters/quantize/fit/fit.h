#pragma once
// The searches, one for each block layout.
#include <cstddef>
#include <cstdint>

#include "format/tensor_type.h"

namespace ingot::converters::fit {

/// Fits `n_blocks` consecutive blocks. `x` and `weights` hold n_blocks * block_elements floats: finite
/// values, and positive weights of their squared errors.
using Fit = void (*)(const float* x, const float* weights, uint64_t n_blocks, std::byte* blocks);

/// The instruction sets that the searches are compiled for, each with all that the ones before it have.
enum class Isa { Baseline, Avx2, Avx512 };
/// The best that this machine has.
Isa best_isa();

/// The search for a layout, or null when there is none. All instruction sets give the same bytes.
Fit find_fit(TensorType type, Isa isa = best_isa());

}  // namespace ingot::converters::fit

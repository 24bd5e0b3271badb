#pragma once
// Recipes for models that are GGUF files already.
#include <vector>

#include "converters/quantize/recipe.h"
#include "format/gguf.h"

namespace ingot::converters {

/// What recipes need to know, from a file's header.
ModelShape shape_of(const GgufHeader& header);

/// The types that a recipe gives a file's tensors, in the header's order. Tables of integers stay as they
/// are.
std::vector<TensorType> choose_types(const Recipe& recipe, const GgufHeader& header);

}  // namespace ingot::converters

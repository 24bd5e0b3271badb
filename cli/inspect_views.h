#pragma once
// The tables of `ingot inspect`, as text for people.
#include <span>
#include <string>

#include "cli/console.h"
#include "format/gguf_model.h"
#include "inspect/selection.h"
#include "inspect/tokens.h"

namespace ingot::cli {

/// "768 × 256"; "scalar" for a tensor without dimensions.
std::string shape_text(const TensorInfo& tensor);

/// One line each, and what they come to by type. `limit_columns`: names are cut so that lines fit the
/// terminal.
std::string tensors_view(const GgufModel& model, std::span<const TensorInfo* const> tensors,
                         const Painter& paint, bool limit_columns);
std::string types_view(std::span<const inspect::TypeShare> types, const Painter& paint, size_t columns);
std::string blocks_view(std::span<const TensorInfo* const> tensors, const Painter& paint, size_t columns);
/// Tokens in whose text `match` is found, where it is given.
std::string tokens_view(const GgufHeader& header, const std::optional<NamePattern>& match,
                        const Painter& paint);

/// Statistics, histogram and first values of one tensor.
std::string tensor_view(const GgufModel& model, const TensorInfo& tensor, int n_threads, const Painter& paint,
                        size_t columns);
/// The same as JSON, in the form that README describes.
std::string tensor_json(const GgufModel& model, const TensorInfo& tensor, int n_threads);
/// The tensor of that name. Throws Error that lists the nearest names.
const TensorInfo& require_tensor(const GgufModel& model, const std::string& name);

}  // namespace ingot::cli

#pragma once
// Importance matrices meet the tensors of a plan.
#include <cstdint>
#include <span>

#include "converters/plan.h"

namespace ingot::converters {

/// Reads the plan's importance matrices and adds them up; what is wrong with a file becomes a finding.
void read_importance(ConversionPlan& plan);

/// Gives each tensor its entry, and writes down in the metadata which files were used.
/// What does not fit a tensor that will be quantized is a problem; such tensors without an entry, and experts
/// that no token came to, are named in warnings. The embedding and the output may do without: looking up rows
/// multiplies nothing, and llama.cpp leaves the output out of its files.
void assign_importance(ConversionPlan& plan);

/// The sums of squares of a row's columns: those of the matrix that it belongs to. Empty: all alike.
std::span<const float> importance_of_row(const ConversionPlan& plan, size_t tensor, uint64_t row);

}  // namespace ingot::converters

#pragma once
// Importance matrices meet the tensors of a plan.
#include <string>
#include <vector>

#include "converters/plan.h"

namespace ingot::converters {

/// Reads the plan's importance matrices and adds them up; what is wrong with a file becomes a finding.
void read_importance(ConversionPlan& plan);

/// Gives each tensor that will be quantized its entry, and writes down in the metadata which files were used.
/// What does not fit is a problem; tensors without an entry, and experts that no token came to, are named in
/// warnings. The embedding and the output may do without: looking up rows multiplies nothing, and llama.cpp
/// leaves the output out of its files.
void assign_importance(ConversionPlan& plan);

}  // namespace ingot::converters

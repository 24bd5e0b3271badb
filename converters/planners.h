#pragma once
// The two ways to a plan, and what they share. Private to the planners.
#include <cstdint>

#include "converters/plan.h"

namespace ingot::converters {

void plan_from_checkpoint(ConversionPlan& plan);
void plan_from_gguf(ConversionPlan& plan);

inline constexpr uint32_t kQuantizationVersion = 2;  // of the block layouts, as every reader expects it

TensorShape shape_for_recipe(const TensorPlan& tensor);
/// Ingot's own keys: where the file comes from. `checkpoint` may be null.
void write_provenance(const Checkpoint* checkpoint, const ConvertRequest& request, Metadata& metadata);

}  // namespace ingot::converters

#pragma once
// The pipeline that fills planned files with tensor data.
#include "converters/convert.h"
#include "converters/model_writer.h"

namespace ingot::converters {

/// Writes every tensor that is not done yet. Throws Error naming tensor, row and column on the first NaN or
/// infinity, and Cancelled on request.
void stream_tensors(const ConversionPlan& plan, ModelWriter& writer, int n_threads,
                    const ConvertOptions& options);

}  // namespace ingot::converters

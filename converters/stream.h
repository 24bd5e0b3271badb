#pragma once
// The pipeline that fills a planned file with tensor data.
#include <string>
#include <vector>

#include "converters/convert.h"
#include "format/output_file.h"

namespace ingot::converters {

/// Writes every tensor at its offset and returns their checksums (see checksum.h) in the layout's order.
/// Throws Error naming tensor, row and column on the first NaN or infinity, and Cancelled on request.
std::vector<std::string> stream_tensors(const ConversionPlan& plan, OutputFile& output, int n_threads,
                                        const ConvertOptions& options);

}  // namespace ingot::converters

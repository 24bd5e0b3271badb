#include "converters/convert.h"

#include <tbb/info.h>

#include <algorithm>
#include <chrono>

#include "converters/stream.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"

namespace ingot::converters {

std::vector<TypeTotal> totals_by_type(const ConversionPlan& plan) {
    std::vector<TypeTotal> totals;
    for (const TensorPlan& tensor : plan.layout.tensors()) {
        auto total = std::ranges::find(totals, tensor.type, &TypeTotal::type);
        if (total == totals.end()) total = totals.insert(totals.end(), TypeTotal{tensor.type, 0, 0, 0});
        ++total->n_tensors;
        total->n_elements += tensor.n_elements;
        total->size_bytes += tensor.size_bytes;
    }
    std::ranges::stable_sort(totals, std::greater<>(), &TypeTotal::size_bytes);
    return totals;
}

ConversionResult convert(ConversionPlan& plan, const ConvertOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    check_output(plan, options.output, options.overwrite);

    ConversionResult result;
    result.output = options.output;
    result.source_bytes = plan.source_bytes;
    result.output_bytes = plan.layout.file_size_bytes();
    result.n_threads = options.n_threads > 0 ? options.n_threads : tbb::info::default_concurrency();

    OutputFile output(options.output, plan.layout.file_size_bytes(), options.overwrite);
    const std::vector<std::string> checksums = stream_tensors(plan, output, result.n_threads, options);
    plan.layout.metadata().set(std::string(keys::kChecksums), MetadataArray{checksums});
    output.write_at(0, plan.layout.encode_header());
    output.commit();

    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
}

}  // namespace ingot::converters

#include "converters/convert.h"

#include <fmt/format.h>
#include <tbb/info.h>

#include <algorithm>
#include <chrono>

#include "converters/model_writer.h"
#include "converters/stream.h"

namespace ingot::converters {

std::vector<TypeTotal> totals_by_type(const ConversionPlan& plan) {
    std::vector<TypeTotal> totals;
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        const TensorPlan& tensor = plan.target(i);
        auto total = std::ranges::find(totals, tensor.type, &TypeTotal::type);
        if (total == totals.end()) total = totals.insert(totals.end(), TypeTotal{tensor.type, 0, 0, 0});
        ++total->n_tensors;
        total->n_elements += tensor.n_elements;
        total->size_bytes += tensor.size_bytes;
    }
    std::ranges::stable_sort(totals, std::greater<>(), &TypeTotal::size_bytes);
    return totals;
}

namespace {

/// Writes every tensor that is not done yet.
void stream_rest(const ConversionPlan& plan, ModelWriter& writer, int n_threads,
                 const ConvertOptions& options) {
    std::vector<StreamJob> jobs;
    uint64_t left_bytes = 0;  // of the source
    for (size_t i = 0; i < plan.tensors.size(); ++i) {
        if (writer.is_done(i)) continue;
        jobs.push_back({i, plan.tensors[i].rows.get(), plan.target(i).type, plan.tensors[i].importance});
        left_bytes += source_bytes_of(*jobs.back().rows);
    }
    const uint64_t skipped_bytes = plan.source_bytes - std::min(plan.source_bytes, left_bytes);
    StreamOptions stream_options{plan.source(), n_threads, options.cancel, {}};
    if (options.progress) {
        stream_options.progress = [&](uint64_t done_bytes) {
            options.progress(skipped_bytes + done_bytes, plan.source_bytes);
        };
    }
    stream_rows(jobs, writer, stream_options);
}

void feed(const ConversionPlan& plan, ModelWriter& writer, const ConvertOptions& options,
          ConversionResult& result) {
    LayerQuantizerOptions quantizer_options;
    quantizer_options.n_threads = result.n_threads;
    quantizer_options.cancel = options.cancel;
    LayerQuantizer quantizer(plan, writer, quantizer_options);
    options.feed(quantizer);
    result.n_fed = quantizer.n_done();
    result.by_diagonal = quantizer.by_diagonal();
}

}  // namespace

ConversionResult convert(const ConversionPlan& plan, const ConvertOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    plan.findings.throw_if_problems(plan.source());
    check_output(plan, options.output, options.overwrite);

    ConversionResult result;
    result.outputs = output_paths(plan, options.output);
    result.source_bytes = plan.source_bytes;
    result.output_bytes = plan.output_bytes();
    result.n_threads = options.n_threads > 0 ? options.n_threads : tbb::info::default_concurrency();

    ModelWriter writer(plan, options.output, options.overwrite);
    if (!options.feed) result.n_resumed = writer.take_over(result.n_threads, options.cancel);
    try {
        if (options.feed) feed(plan, writer, options, result);
        stream_rest(plan, writer, result.n_threads, options);
    } catch (const Cancelled&) {
        if (options.feed || writer.n_done() == 0) throw Cancelled("interrupted; nothing was written");
        writer.keep();
        throw Cancelled(fmt::format(
            "interrupted; {} of {} tensors are in {}, and the same command goes on from there; remove that "
            "file to start anew",
            writer.n_done(), plan.tensors.size(), writer.unfinished_path()));
    }
    writer.commit();

    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return result;
}

}  // namespace ingot::converters

#include "converters/verification.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/info.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "converters/convert.h"
#include "converters/tile_pipeline.h"
#include "format/decode.h"
#include "format/gguf_model.h"

namespace ingot::converters {

namespace {

/// What is summed over a tensor, or a part of it.
struct Sums {
    double squared_error = 0, squared_source = 0, max_error = 0;
    uint64_t n_not_finite = 0, n_beyond_rounding = 0;
    bool source_is_zero = true, written_is_zero = true;

    void add(const Sums& other) {
        squared_error += other.squared_error;
        squared_source += other.squared_source;
        max_error = std::max(max_error, other.max_error);
        n_not_finite += other.n_not_finite;
        n_beyond_rounding += other.n_beyond_rounding;
        source_is_zero = source_is_zero && other.source_is_zero;
        written_is_zero = written_is_zero && other.written_is_zero;
    }
};

/// The largest error of rounding to nearest: half a unit in the last place, relative to the value, and half
/// the smallest step around zero.
struct Rounding {
    double relative, absolute;
    static Rounding of(TensorType type) {
        if (type == TensorType::F16) return {0x1p-11, 0x1p-25};
        if (type == TensorType::BF16) return {0x1p-8, 0x1p-134};
        if (type == TensorType::F32 || type == TensorType::F64 || !info(type).quantized) return {0, 0};
        return {INFINITY, 0};  // blocks: no bound for a single element
    }
};

Sums compare(const std::vector<float>& source, const std::vector<float>& written, TensorType type) {
    const Rounding rounding = Rounding::of(type);
    Sums sums;
    for (size_t i = 0; i < source.size(); ++i) {
        const double expected = source[i], found = written[i];
        if (!std::isfinite(found)) {
            ++sums.n_not_finite;
            continue;
        }
        const double error = std::fabs(found - expected);
        sums.squared_error += error * error;
        sums.squared_source += expected * expected;
        sums.max_error = std::max(sums.max_error, error);
        sums.n_beyond_rounding += error > std::fabs(expected) * rounding.relative + rounding.absolute;
        sums.source_is_zero = sums.source_is_zero && expected == 0;
        sums.written_is_zero = sums.written_is_zero && found == 0;
    }
    return sums;
}

struct Work : Tile {
    Sums sums;
};

class Comparison {
  public:
    Comparison(const ConversionPlan& plan, const std::vector<std::string>& outputs,
               const VerificationOptions& options)
        : plan_(plan), options_(options), model_(outputs.at(0)), sums_(plan.tensors.size()) {
        std::vector<const TensorRows*> all;
        for (const TensorSource& tensor : plan.tensors) all.push_back(tensor.rows.get());
        order_ = reading_order(all);
        for (size_t i = 0; i < plan.tensors.size(); ++i) written_.push_back(&find_written(i));
    }

    std::vector<TensorError> run(int n_threads) {
        std::vector<const TensorRows*> ordered;
        for (const size_t tensor : order_) ordered.push_back(plan_.tensors[tensor].rows.get());
        const bool done = for_each_tile<Work>(
            std::move(ordered), n_threads, options_.cancel, [&](Work& work) { compare_tile(work); },
            [&](const Work& work) { sum_tile(work); });  // in order: no sum depends on the number of threads
        if (!done) throw Cancelled("interrupted; the files are written, but were not all compared");
        std::vector<TensorError> errors;
        for (size_t i = 0; i < sums_.size(); ++i) errors.push_back(error_of(i));
        return errors;
    }

  private:
    const TensorInfo& find_written(size_t tensor) const {
        const TensorPlan& target = plan_.target(tensor);
        const TensorInfo* found = model_.header().find_tensor(target.name);
        if (!found || found->type != target.type || found->n_elements != target.n_elements) {
            fail("{}: tensor {} is not there as it was planned; the file was changed since",
                 model_.path().string(), target.name);
        }
        return *found;
    }

    void compare_tile(Work& work) {
        const size_t tensor = order_[work.tensor];
        const TensorRows& rows = *plan_.tensors[tensor].rows;
        const TensorInfo& written = *written_[tensor];
        const GgufFile& file = model_.file_of(written);
        auto& [expected, found] = buffers_.local();
        expected.resize(work.n_elements());
        found.resize(work.n_elements());
        work.read(rows, expected.data());
        const uint64_t begin = work.first_row * row_bytes(written.type, rows.row_elements()) +
                               row_bytes(written.type, work.first_column);
        const auto bytes =
            file.tensor_bytes(written).subspan(begin, work.n_rows * row_bytes(written.type, work.n_columns));
        decode_row(written.type, bytes.data(), found.data(), found.size());
        file.file().dont_need(size_t(bytes.data() - file.bytes().data()), bytes.size());
        work.sums = compare(expected, found, written.type);
    }

    void sum_tile(const Work& work) {
        const size_t tensor = order_[work.tensor];
        sums_[tensor].add(work.sums);
        for (const Extent& extent : work.extents) {
            extent.release();
            done_bytes_ += extent.size_bytes;
        }
        if (options_.progress)
            options_.progress(std::min(done_bytes_, plan_.source_bytes), plan_.source_bytes);
    }

    TensorError error_of(size_t tensor) const {
        const TensorPlan& target = plan_.target(tensor);
        const Sums& sums = sums_[tensor];
        TensorError error;
        error.name = target.name;
        error.type = target.type;
        error.source_encoding = plan_.tensors[tensor].rows->encoding();
        error.n_elements = target.n_elements;
        error.rmse = target.n_elements ? std::sqrt(sums.squared_error / double(target.n_elements)) : 0;
        error.relative_rmse =
            sums.squared_error == 0 ? 0 : std::sqrt(sums.squared_error / sums.squared_source);
        error.max_error = sums.max_error;
        error.n_not_finite = sums.n_not_finite;
        error.n_beyond_rounding = sums.n_beyond_rounding;
        error.source_is_zero = sums.source_is_zero && target.n_elements > 0;
        error.written_is_zero = sums.written_is_zero && target.n_elements > 0;
        return error;
    }

    const ConversionPlan& plan_;
    const VerificationOptions& options_;
    const GgufModel model_;
    std::vector<const TensorInfo*> written_;  // by tensor of the plan
    std::vector<size_t> order_;               // reading order -> tensor of the plan
    std::vector<Sums> sums_;                  // by tensor of the plan
    tbb::enumerable_thread_specific<std::pair<std::vector<float>, std::vector<float>>> buffers_;
    uint64_t done_bytes_ = 0;
};

}  // namespace

bool TensorError::failed() const {
    // With an error as large as the values themselves, zeros would have done as well.
    return n_not_finite > 0 || n_beyond_rounding > 0 || !(relative_rmse < 1) ||
           (written_is_zero && !source_is_zero);
}

bool VerificationReport::ok() const {
    return n_failed() == 0;
}

uint64_t VerificationReport::n_failed() const {
    return uint64_t(std::ranges::count_if(tensors, &TensorError::failed));
}

VerificationReport verify_conversion(const ConversionPlan& plan, const std::vector<std::string>& outputs,
                                     const VerificationOptions& options) {
    const auto start = std::chrono::steady_clock::now();
    const int n_threads = options.n_threads > 0 ? options.n_threads : tbb::info::default_concurrency();
    VerificationReport report;
    report.tensors = Comparison(plan, outputs, options).run(n_threads);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return report;
}

}  // namespace ingot::converters

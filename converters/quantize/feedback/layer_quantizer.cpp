#include "converters/quantize/feedback/layer_quantizer.h"

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "converters/quantize/feedback/block_codec.h"
#include "converters/quantize/feedback/error_feedback.h"
#include "converters/quantize/quantize.h"
#include "format/checksum.h"

namespace ingot::converters {

using feedback::ErrorFeedback;
using feedback::SecondMoments;

/// Matrices with the same input, which they collect.
struct LayerQuantizer::Group {
    std::vector<std::string> names;      // the first is the one that stands for all
    std::vector<SecondMoments> moments;  // of each matrix of a tensor
    bool is_full = false;                // set, as soon as a second piece of the input comes
    std::vector<float> x;                // the first piece
    std::vector<int32_t> matrices;
    std::vector<float> sorted;  // rows of one matrix

    bool has(std::string_view tensor) const { return std::ranges::find(names, tensor) != names.end(); }

    void add(std::span<const float> rows, std::span<const float> reference, uint64_t n_columns,
             std::span<const int32_t> of_matrix) {
        if (of_matrix.empty()) return moments[0].add(rows, reference);
        for (size_t m = 0; m < moments.size(); ++m) {
            sorted.clear();
            for (size_t i = 0; i < of_matrix.size(); ++i) {
                if (of_matrix[i] != int32_t(m)) continue;
                const auto row = rows.subspan(i * n_columns, n_columns);
                sorted.insert(sorted.end(), row.begin(), row.end());
            }
            if (!sorted.empty()) moments[m].add(sorted);
        }
    }
};

bool takes_feedback(const ConversionPlan& plan, size_t tensor) {
    const TensorType type = plan.target(tensor).type;
    return feedback::find_codec(type) && !plan.tensors[tensor].rows->holds(type);
}

LayerQuantizer::LayerQuantizer(const ConversionPlan& plan, StreamSink& sink,
                               const LayerQuantizerOptions& options)
    : plan_(plan), sink_(sink), options_(options) {
    for (size_t i = 0; i < plan.tensors.size(); ++i)
        if (takes_feedback(plan, i)) wanted_[plan.target(i).name] = {i};
}

LayerQuantizer::~LayerQuantizer() = default;

bool LayerQuantizer::is_done(size_t tensor) const {
    const auto at = wanted_.find(plan_.target(tensor).name);
    return at != wanted_.end() && at->second.done;
}

bool LayerQuantizer::add_reference(std::string_view tensor, std::span<const float> x,
                                   std::span<const int32_t> matrices) {
    const auto at = wanted_.find(std::string(tensor));
    if (at == wanted_.end() || at->second.done) return true;
    if (reference_tensor_.empty()) reference_tensor_ = tensor;
    if (reference_tensor_ != tensor) return true;
    reference_.clear();  // tokens may have been sent to other experts
    if (matrices.empty()) reference_.assign(x.begin(), x.end());
    return false;
}

bool LayerQuantizer::add_inputs(std::string_view tensor, std::span<const float> x, uint64_t n_columns,
                                uint64_t n_matrices, std::span<const int32_t> matrices) {
    const auto at = wanted_.find(std::string(tensor));
    if (at == wanted_.end() || at->second.done) return true;
    const TensorRows& rows = *plan_.tensors[at->second.tensor].rows;
    if (rows.row_elements() != n_columns || rows.n_rows() % n_matrices != 0)
        fail(
            "tensor {}: the calibration model multiplies {} columns in {} matrices by it, but it has {} x {}",
            tensor, n_columns, n_matrices, rows.row_elements(), rows.n_rows());
    if (!group_) {
        has_more_ = false;
        group_ = std::make_unique<Group>();
        using Form = SecondMoments::Form;
        const bool fits = n_columns <= UINT32_MAX && SecondMoments::size_bytes(n_columns, Form::Full) <=
                                                         options_.most_moment_bytes / n_matrices;
        for (uint64_t m = 0; m < n_matrices; ++m)
            group_->moments.emplace_back(n_columns, fits ? Form::Full : Form::Diagonal);
        group_->names.emplace_back(tensor);
        group_->x.assign(x.begin(), x.end());
        group_->matrices.assign(matrices.begin(), matrices.end());
    } else if (group_->names[0] == tensor) {
        group_->is_full = true;
        group_->x = {};
    } else {
        const bool joins = !group_->is_full && !group_->has(tensor) && group_->moments.size() == n_matrices &&
                           std::ranges::equal(group_->x, x) && std::ranges::equal(group_->matrices, matrices);
        if (joins) group_->names.emplace_back(tensor);
        if (!group_->has(tensor)) has_more_ = true;
        return true;
    }
    tbb::task_arena arena(options_.n_threads);
    std::span<const float> reference;
    if (reference_tensor_ == tensor && reference_.size() == x.size()) reference = reference_;
    arena.execute([&] { group_->add(x, reference, n_columns, matrices); });
    return !group_->is_full;  // the first piece shows who else has this input
}

namespace {

/// Rows of one matrix of a tensor -> blocks, in tiles.
class MatrixEncoder {
  public:
    MatrixEncoder(const TensorRows& rows, TensorType type, const SecondMoments& moments,
                  const ErrorFeedback* error_feedback)
        : rows_(rows), type_(type), moments_(moments), error_feedback_(error_feedback) {}

    void encode(uint64_t first_row, uint64_t n_rows, std::span<std::byte> bytes,
                const std::atomic<bool>* cancel) const {
        const uint64_t n_columns = rows_.row_elements(), row_size = row_bytes(type_, n_columns);
        constexpr uint64_t kTile = ErrorFeedback::kTileRows;
        tbb::parallel_for(uint64_t(0), (n_rows + kTile - 1) / kTile, [&](uint64_t tile) {
            if (cancel && cancel->load(std::memory_order_relaxed)) throw Cancelled("interrupted");
            const uint64_t begin = tile * kTile, n = std::min(kTile, n_rows - begin);
            std::vector<float> values(n * n_columns);
            rows_.read(first_row + begin, n, values.data());
            check_finite(first_row + begin, values);
            const std::span<std::byte> out = bytes.subspan(begin * row_size, n * row_size);
            constexpr float kMostMagnitude = 0x1p28f;  // of error feedback; no block holds more
            const auto fits = [&](float value) { return std::fabs(value) <= kMostMagnitude; };
            if (error_feedback_ && std::ranges::all_of(values, fits)) {
                error_feedback_->quantize(type_, values, out);
            } else {
                quantize_rows(type_, values, out, n_columns,
                              moments_.n_rows() > 0 ? moments_.diagonal() : std::vector<float>());
            }
        });
    }

  private:
    void check_finite(uint64_t first_row, std::span<const float> values) const {
        const auto bad = std::ranges::find_if(values, [](float value) { return !std::isfinite(value); });
        if (bad == values.end()) return;
        const uint64_t at = uint64_t(bad - values.begin());
        const TensorRows::Place place =
            rows_.place(first_row + at / rows_.row_elements(), at % rows_.row_elements());
        fail("tensor \"{}\" has {} at row {}, column {}; the checkpoint is damaged, or its training diverged",
             place.tensor, *bad, place.row, place.column);
    }

    const TensorRows& rows_;
    TensorType type_;
    const SecondMoments& moments_;
    const ErrorFeedback* error_feedback_;
};

}  // namespace

std::vector<EncodedTensor> LayerQuantizer::finish_pass() {
    std::vector<EncodedTensor> encoded;
    reference_tensor_.clear();
    if (!group_) {
        has_more_ = false;
        return encoded;
    }
    for (const std::string& name : group_->names) {
        const TensorPlan& target = plan_.target(wanted_[name].tensor);
        encoded.push_back({name, target.type, std::vector<std::byte>(target.size_bytes)});
    }
    bool all_full = true;
    tbb::task_arena arena(options_.n_threads);
    arena.execute([&] {
        const uint64_t n_matrices = group_->moments.size();
        for (uint64_t m = 0; m < n_matrices; ++m) {
            const SecondMoments& moments = group_->moments[m];
            std::optional<ErrorFeedback> error_feedback;
            if (moments.form() == SecondMoments::Form::Full && moments.n_rows() > 0) {
                error_feedback.emplace(moments);
            } else {
                all_full = false;
            }
            for (EncodedTensor& tensor : encoded) {
                const TensorRows& rows = *plan_.tensors[wanted_[tensor.name].tensor].rows;
                const uint64_t n_rows = rows.n_rows() / n_matrices;
                const uint64_t size_bytes = tensor.bytes.size() / n_matrices;
                MatrixEncoder(rows, tensor.type, moments, error_feedback ? &*error_feedback : nullptr)
                    .encode(m * n_rows, n_rows, std::span(tensor.bytes).subspan(m * size_bytes, size_bytes),
                            options_.cancel);
            }
        }
    });
    for (const EncodedTensor& tensor : encoded) {
        Wanted& wanted = wanted_[tensor.name];
        StreamingChecksum checksum;
        checksum.update(tensor.bytes);
        sink_.write(wanted.tensor, 0, tensor.bytes);
        sink_.finish(wanted.tensor, checksum.hex());
        wanted.done = true;
        ++n_done_;
        if (!all_full) by_diagonal_.push_back(tensor.name);
    }
    group_.reset();
    return encoded;
}

}  // namespace ingot::converters

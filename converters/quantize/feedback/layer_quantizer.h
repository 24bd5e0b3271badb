#pragma once
// A model's matrices, quantized in the order in which a text comes to them: each with its inputs' second
// moments, as they are behind the matrices that are quantized already.
#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "converters/plan.h"
#include "converters/quantize/feedback/second_moments.h"
#include "converters/stream.h"

namespace ingot::converters {

/// A tensor that was quantized; the bytes went to the sink.
struct EncodedTensor {
    std::string name;
    TensorType type{};
    std::vector<std::byte> bytes;
};

/// Whether error feedback knows the tensor's type, and it is to be encoded in it, not copied.
bool takes_feedback(const ConversionPlan& plan, size_t tensor);

struct LayerQuantizerOptions {
    /// Where one tensor's second moments (of experts: of all of them) would take more than this, their
    /// diagonal is used, as an importance matrix is.
    uint64_t most_moment_bytes = uint64_t(4) << 30;
    int n_threads = 1;
    const std::atomic<bool>* cancel = nullptr;  // polled; when it becomes true, Cancelled is thrown
};

/// What becomes of the plan's tensors with error feedback. The same text is shown in several passes: the
/// first matrices that are not quantized yet, and have the same input, collect it; when the pass ends they
/// are quantized. Those behind them wait for the next pass, in which their input will have changed. Not
/// thread-safe. Memory: 32 bytes × columns² for one input, or most_moment_bytes, and the group's encoded
/// bytes.
class LayerQuantizer {
  public:
    /// `plan` and `sink` must outlive it.
    LayerQuantizer(const ConversionPlan& plan, StreamSink& sink, const LayerQuantizerOptions& options);
    ~LayerQuantizer();

    /// Row i of x (n_rows, n_columns) was multiplied by matrix matrices[i] of n_matrices; `matrices` is empty
    /// where the tensor is one matrix. Returns whether the products that follow in this piece of the text are
    /// of any use.
    bool add_inputs(std::string_view tensor, std::span<const float> x, uint64_t n_columns,
                    uint64_t n_matrices, std::span<const int32_t> matrices);
    /// The same product as add_inputs() will show next, but of a model in which nothing is quantized: what
    /// its input was meant to be. Optional. Returns the same as add_inputs().
    bool add_reference(std::string_view tensor, std::span<const float> x, std::span<const int32_t> matrices);
    /// Quantizes what collected inputs since the last call and writes it. Empty: the pass came to nothing
    /// new.
    std::vector<EncodedTensor> finish_pass();

    /// Whether that pass came to matrices that wait for the next.
    bool has_more() const { return has_more_; }

    size_t n_tensors() const { return wanted_.size(); }  // that are to be quantized
    size_t n_done() const { return n_done_; }
    bool is_done(size_t tensor) const;  // of the plan
    /// Tensors whose moments were too large, or that no token came to: see LayerQuantizerOptions.
    const std::vector<std::string>& by_diagonal() const { return by_diagonal_; }

  private:
    struct Group;
    struct Wanted {
        size_t tensor;  // of the plan
        bool done = false;
    };

    const ConversionPlan& plan_;
    StreamSink& sink_;
    LayerQuantizerOptions options_;
    std::unordered_map<std::string, Wanted> wanted_;
    size_t n_done_ = 0;
    bool has_more_ = false;
    std::string reference_tensor_;  // the first that waits, and what its input was meant to be
    std::vector<float> reference_;
    std::unique_ptr<Group> group_;  // of this pass
    std::vector<std::string> by_diagonal_;
};

}  // namespace ingot::converters

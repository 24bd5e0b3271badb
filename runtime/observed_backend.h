#pragma once
// A backend that shows what the model's matrices are multiplied by. It stands in front of another one, so
// that a pass which nobody watches costs nothing more.
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/model.h"
#include "runtime/wrapped_backend.h"

namespace ingot::runtime {

/// Inputs of one tensor's matrices: row i of x was multiplied by matrix matrices[i].
struct ProductInput {
    std::string_view tensor;            // its name in the file
    std::span<const float> x;           // (n_rows, n_in)
    int64_t n_in;                       // elements of a row
    int64_t n_matrices;                 // experts, or heads that have one each
    std::span<const int32_t> matrices;  // (n_rows); empty: there is one matrix, and all rows met it
};

class ProductObserver {
  public:
    virtual ~ProductObserver() = default;
    /// Before the product is computed. Called from one thread, in the order of the products. False: enough
    /// was seen, and until the next observe() the backend may leave out all work, so that results mean
    /// nothing.
    virtual bool on_product(const ProductInput& input) = 0;
};

/// A tensor of which several weights are slices
/// (fused queries, keys and values) is shown once.
class ObservedBackend final : public WrappedBackend {
  public:
    using WrappedBackend::WrappedBackend;

    /// Starts to show what `model`, which was loaded on this backend, multiplies; null ends it. Either way
    /// the backend works again, if an observer had seen enough.
    void observe(const Model& model, ProductObserver* observer);
    /// From now on `model` multiplies by these values, (n_out, n_in) blocks of `type`, in place of its own
    /// tensor's, which must be a matrix or several. `bytes` stay valid and unchanged while this lives.
    void replace(const Model& model, std::string_view tensor, TensorType type,
                 std::span<const std::byte> bytes);
    /// Whether replaced tensors or the model's own are multiplied by.
    void use_replaced(bool use) { uses_replaced_ = use; }
    /// The model's own tensors for good.
    void restore() { replaced_.clear(); }

    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                        std::span<const std::byte> bytes) override;
    void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) override;
    void matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens, const ExpertChoice& choice,
                        std::span<const Projection> projections) override;

  private:
    bool begin_work(const char*) override { return !is_idle_; }
    void end_work(const char*) override {}
    void show(const ProductInput& input) { is_idle_ = is_idle_ || !observer_->on_product(input); }
    /// Downloads n floats of `x` into x_, once a call.
    std::span<const float> fetch(const Buffer& x, int64_t n);

    /// The projections, with replaced weights in place of the model's.
    std::span<const Projection> current(std::span<const Projection> projections);

    ProductObserver* observer_ = nullptr;
    std::unordered_map<const Weight*, const std::byte*> begins_;   // where each weight's bytes are
    std::unordered_map<const Weight*, std::string_view> tensors_;  // those that begin a tensor
    std::unordered_map<const Weight*, std::unique_ptr<Weight>> replaced_;
    bool uses_replaced_ = true;
    bool is_idle_ = false;             // the observer has seen enough
    std::vector<Projection> current_;  // of one product
    std::vector<float> x_;             // of one product
    std::vector<int32_t> experts_;     // likewise
};

}  // namespace ingot::runtime

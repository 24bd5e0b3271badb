#pragma once
// A backend that shows what the model's matrices are multiplied by. It stands in front of another one, so
// that a pass which nobody watches costs nothing more.
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/backend.h"
#include "runtime/model.h"

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

/// Passes everything on to `inner`, which must outlive it. A tensor of which several weights are slices
/// (fused queries, keys and values) is shown once.
class ObservedBackend final : public Backend {
  public:
    explicit ObservedBackend(Backend& inner) : inner_(inner) {}

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

    std::string description() const override { return inner_.description(); }
    bool computes_in_place() const override { return inner_.computes_in_place(); }
    bool has_cache_type(CacheType type) const override { return inner_.has_cache_type(type); }
    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                        std::span<const std::byte> bytes) override;
    void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) override;
    void matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens, const ExpertChoice& choice,
                        std::span<const Projection> projections) override;

    // clang-format off
    void begin_tensor(std::string_view name) override { inner_.begin_tensor(name); }
    std::unique_ptr<Buffer> allocate(size_t size_bytes) override { return inner_.allocate(size_bytes); }
    std::unique_ptr<Buffer> view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) override { return inner_.view(buffer, offset_bytes, size_bytes); }
    void upload(std::span<const std::byte> source, Buffer& destination) override { inner_.upload(source, destination); }
    void download(const Buffer& source, std::span<std::byte> destination) override { if (!is_idle_) inner_.download(source, destination); }
    void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) override { if (!is_idle_) inner_.embed_rows(table, tokens, y); }
    void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) override { if (!is_idle_) inner_.copy_rows(x, rows, n, y); }
    void copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y, Columns to) override { if (!is_idle_) inner_.copy_columns(x, from, n_rows, n, y, to); }
    void norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) override { if (!is_idle_) inner_.norm(norm, x, n_rows, y); }
    void activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n, Buffer& y) override { if (!is_idle_) inner_.activate(activation, gate, up, n, y); }
    void map(Elementwise function, float value, int64_t n, Buffer& x) override { if (!is_idle_) inner_.map(function, value, n, x); }
    void scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n, int64_t n_repeats, Buffer& y) override { if (!is_idle_) inner_.scale_rows(x, scales, n_rows, n, n_repeats, y); }
    void add(const Buffer& x, int64_t n, Buffer& y) override { if (!is_idle_) inner_.add(x, n, y); }
    void rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim, Buffer& x) override { if (!is_idle_) inner_.rope(rope, positions, n_heads, head_dim, x); }
    void write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type, Buffer& cache) override { if (!is_idle_) inner_.write_cache(x, positions, n, type, cache); }
    void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions, const HeadGeometry& heads, Buffer& y) override { if (!is_idle_) inner_.attention(q, cache, positions, heads, y); }
    void convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps, bool fresh, Buffer& state, Buffer& y) override { if (!is_idle_) inner_.convolve(x, weight, n_tokens, n, n_taps, fresh, state, y); }
    void delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh, Buffer& state, Buffer& y) override { if (!is_idle_) inner_.delta_net(heads, inputs, n_tokens, fresh, state, y); }
    void route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts, Buffer& weights) override { if (!is_idle_) inner_.route(rule, logits, n_tokens, experts, weights); }
    void combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n, Buffer& y) override { if (!is_idle_) inner_.combine(x, weights, n_tokens, n_used, n, y); }
    // clang-format on

  private:
    void show(const ProductInput& input) { is_idle_ = is_idle_ || !observer_->on_product(input); }
    /// Downloads n floats of `x` into x_, once a call.
    std::span<const float> fetch(const Buffer& x, int64_t n);

    /// The projections, with replaced weights in place of the model's.
    std::span<const Projection> current(std::span<const Projection> projections);

    Backend& inner_;
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

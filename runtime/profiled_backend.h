#pragma once
// A backend that keeps account of what a pass costs: time, bytes and arithmetic of each kind of work. It
// stands in front of another one. For a device that computes while its operations return, as the CPU does.
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/backend.h"
#include "runtime/model.h"

namespace ingot::runtime {

/// What one kind of work took. Operations are multiplications and additions, counted apart.
struct Cost {
    double seconds = 0;
    int64_t n_calls = 0;
    uint64_t weight_bytes = 0;      // of matrices, once for each product
    uint64_t cache_bytes = 0;       // of keys and values, once for each token that looks at them
    uint64_t int8_operations = 0;   // of products with quantized matrices
    uint64_t float_operations = 0;  // of products with other matrices

    Cost& operator+=(const Cost& other);
};

/// By kind: "attn_q + attn_k + attn_v" and "ffn_down" are products, "attention", "norm" and so on the rest.
using Profile = std::map<std::string, Cost>;

/// The most expensive kind first.
std::vector<std::pair<std::string, Cost>> by_seconds(const Profile& profile);
Cost sum_of(const Profile& profile);

/// Passes everything on to `inner`, which must outlive it, and takes down what it costs while it is asked to.
/// What that costs itself is two looks at the clock for each operation.
class ProfiledBackend final : public Backend {
  public:
    explicit ProfiledBackend(Backend& inner) : inner_(inner) {}

    /// Starts anew. The names of matrices are those of `model`, which was loaded on this backend.
    void start(const Model& model);
    /// What was taken down since start().
    Profile stop();

    std::string description() const override { return inner_.description(); }
    void begin_tensor(std::string_view name) override { inner_.begin_tensor(name); }
    bool computes_in_place() const override { return inner_.computes_in_place(); }
    bool has_cache_type(CacheType type) const override { return inner_.has_cache_type(type); }
    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                        std::span<const std::byte> bytes) override;
    void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) override;
    void matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens, const ExpertChoice& choice,
                        std::span<const Projection> projections) override;
    void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                   const HeadGeometry& heads, Buffer& y) override;

    // clang-format off
    std::unique_ptr<Buffer> allocate(size_t size_bytes) override { return inner_.allocate(size_bytes); }
    std::unique_ptr<Buffer> view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) override { return inner_.view(buffer, offset_bytes, size_bytes); }
    void upload(std::span<const std::byte> source, Buffer& destination) override { inner_.upload(source, destination); }
    void download(const Buffer& source, std::span<std::byte> destination) override { timed("download", [&] { inner_.download(source, destination); }); }
    void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) override { timed("embedding", [&] { inner_.embed_rows(table, tokens, y); }); }
    void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) override { timed("copy", [&] { inner_.copy_rows(x, rows, n, y); }); }
    void copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y, Columns to) override { timed("copy", [&] { inner_.copy_columns(x, from, n_rows, n, y, to); }); }
    void norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) override { timed("norm", [&] { inner_.norm(norm, x, n_rows, y); }); }
    void activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n, Buffer& y) override { timed("activation", [&] { inner_.activate(activation, gate, up, n, y); }); }
    void map(Elementwise function, float value, int64_t n, Buffer& x) override { timed("scale and cap", [&] { inner_.map(function, value, n, x); }); }
    void scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n, int64_t n_repeats, Buffer& y) override { timed("scale and cap", [&] { inner_.scale_rows(x, scales, n_rows, n, n_repeats, y); }); }
    void add(const Buffer& x, int64_t n, Buffer& y) override { timed("residual", [&] { inner_.add(x, n, y); }); }
    void rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim, Buffer& x) override { timed("rope", [&] { inner_.rope(rope, positions, n_heads, head_dim, x); }); }
    void write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type, Buffer& cache) override { timed("cache", [&] { inner_.write_cache(x, positions, n, type, cache); }); }
    void convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps, bool fresh, Buffer& state, Buffer& y) override { timed("convolution", [&] { inner_.convolve(x, weight, n_tokens, n, n_taps, fresh, state, y); }); }
    void delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh, Buffer& state, Buffer& y) override { timed("delta net", [&] { inner_.delta_net(heads, inputs, n_tokens, fresh, state, y); }); }
    void route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts, Buffer& weights) override { timed("routing", [&] { inner_.route(rule, logits, n_tokens, experts, weights); }); }
    void combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n, Buffer& y) override { timed("experts' sum", [&] { inner_.combine(x, weights, n_tokens, n_used, n, y); }); }
    // clang-format on

  private:
    /// Does the work, and adds what it cost to the kind's account.
    template <typename Work>
    void timed(const char* kind, Work&& work) {
        if (!is_on_) return work();
        const auto start = std::chrono::steady_clock::now();
        work();
        Cost& cost = profile_[kind];
        cost.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
        ++cost.n_calls;
    }
    /// The account of products, named by their matrices.
    Cost& products(std::span<const Projection> projections);

    Backend& inner_;
    bool is_on_ = false;
    Profile profile_;
    std::unordered_map<const Weight*, const std::byte*> begins_;  // where each weight's bytes are
    std::unordered_map<const Weight*, std::string> kinds_;        // "ffn_down" of blk.7.ffn_down.weight
};

}  // namespace ingot::runtime

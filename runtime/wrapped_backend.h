#pragma once
// A backend in front of another one: what it is asked for, the other one does. Those that look at the work on
// its way begin here.
#include <memory>
#include <string>

#include "runtime/backend.h"

namespace ingot::runtime {

/// Passes everything on to `inner`, which must outlive it.
class WrappedBackend : public Backend {
  public:
    explicit WrappedBackend(Backend& inner) : inner_(inner) {}

    // clang-format off
    std::string description() const override { return inner_.description(); }
    bool computes_in_place() const override { return inner_.computes_in_place(); }
    bool has_cache_type(CacheType type) const override { return inner_.has_cache_type(type); }
    void begin_tensor(std::string_view name) override { inner_.begin_tensor(name); }
    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out, std::span<const std::byte> bytes) override { return inner_.load_weight(type, n_in, n_out, bytes); }
    std::unique_ptr<Buffer> allocate(size_t size_bytes) override { return inner_.allocate(size_bytes); }
    std::unique_ptr<Buffer> view(Buffer& buffer, size_t offset_bytes, size_t size_bytes) override { return inner_.view(buffer, offset_bytes, size_bytes); }
    void upload(std::span<const std::byte> source, Buffer& destination) override { inner_.upload(source, destination); }

    void download(const Buffer& source, std::span<std::byte> destination) override { pass_on("download", [&] { inner_.download(source, destination); }); }
    void largest(const Buffer& x, int64_t n_rows, int64_t n, int64_t k, std::span<TokenLogit> found) override { pass_on("download", [&] { inner_.largest(x, n_rows, n, k, found); }); }
    void embed_rows(const Weight& table, std::span<const Token> tokens, Buffer& y) override { pass_on("embedding", [&] { inner_.embed_rows(table, tokens, y); }); }
    void copy_rows(const Buffer& x, std::span<const int32_t> rows, int64_t n, Buffer& y) override { pass_on("copy", [&] { inner_.copy_rows(x, rows, n, y); }); }
    void copy_columns(const Buffer& x, Columns from, int64_t n_rows, int64_t n, Buffer& y, Columns to) override { pass_on("copy", [&] { inner_.copy_columns(x, from, n_rows, n, y, to); }); }
    void norm(const Norm& norm, const Buffer& x, int64_t n_rows, Buffer& y) override { pass_on("norm", [&] { inner_.norm(norm, x, n_rows, y); }); }
    void activate(Activation activation, const Buffer& gate, const Buffer* up, int64_t n, Buffer& y) override { pass_on("activation", [&] { inner_.activate(activation, gate, up, n, y); }); }
    void map(Elementwise function, float value, int64_t n, Buffer& x) override { pass_on("scale and cap", [&] { inner_.map(function, value, n, x); }); }
    void scale_rows(const Buffer& x, const Buffer& scales, int64_t n_rows, int64_t n, int64_t n_repeats, Buffer& y) override { pass_on("scale and cap", [&] { inner_.scale_rows(x, scales, n_rows, n, n_repeats, y); }); }
    void add(const Buffer& x, int64_t n, Buffer& y) override { pass_on("residual", [&] { inner_.add(x, n, y); }); }
    void rope(const Rope& rope, std::span<const int32_t> positions, int64_t n_heads, int64_t head_dim, Buffer& x) override { pass_on("rope", [&] { inner_.rope(rope, positions, n_heads, head_dim, x); }); }
    void write_cache(const Buffer& x, std::span<const int32_t> positions, int64_t n, CacheType type, Buffer& cache) override { pass_on("cache", [&] { inner_.write_cache(x, positions, n, type, cache); }); }
    void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions, const HeadGeometry& heads, Buffer& y) override { pass_on("attention", [&] { inner_.attention(q, cache, positions, heads, y); }); }
    void convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps, bool fresh, Buffer& state, Buffer& y) override { pass_on("convolution", [&] { inner_.convolve(x, weight, n_tokens, n, n_taps, fresh, state, y); }); }
    void delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh, Buffer& state, Buffer& y) override { pass_on("delta net", [&] { inner_.delta_net(heads, inputs, n_tokens, fresh, state, y); }); }
    void route(const RoutingRule& rule, const Buffer& logits, int64_t n_tokens, Buffer& experts, Buffer& weights) override { pass_on("routing", [&] { inner_.route(rule, logits, n_tokens, experts, weights); }); }
    void combine(const Buffer& x, const Buffer& weights, int64_t n_tokens, int64_t n_used, int64_t n, Buffer& y) override { pass_on("experts' sum", [&] { inner_.combine(x, weights, n_tokens, n_used, n, y); }); }
    // clang-format on

  protected:
    /// Before work of a kind, the products apart: false leaves it out.
    virtual bool begin_work(const char* kind) = 0;
    virtual void end_work(const char* kind) = 0;

    template <typename Work>
    void pass_on(const char* kind, Work&& work) {
        if (!begin_work(kind)) return;
        work();
        end_work(kind);
    }

    Backend& inner_;
};

}  // namespace ingot::runtime

#pragma once
// A backend that keeps account of what a pass costs: time, bytes and arithmetic of each kind of work. It
// stands in front of another one. For a device that computes while its operations return, as the CPU does.
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/model.h"
#include "runtime/wrapped_backend.h"

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

/// Takes down what everything costs while it is asked to. What that costs itself is two looks at the clock
/// for each operation.
class ProfiledBackend final : public WrappedBackend {
  public:
    using WrappedBackend::WrappedBackend;

    /// Starts anew. The names of matrices are those of `model`, which was loaded on this backend.
    void start(const Model& model);
    /// What was taken down since start().
    Profile stop();

    std::unique_ptr<Weight> load_weight(TensorType type, int64_t n_in, int64_t n_out,
                                        std::span<const std::byte> bytes) override;
    void matmul(const Buffer& x, int64_t n_tokens, std::span<const Projection> projections) override;
    void matmul_experts(const Buffer& x, bool x_has_slots, int64_t n_tokens, const ExpertChoice& choice,
                        std::span<const Projection> projections) override;
    void attention(const Buffer& q, const KvLayer& cache, std::span<const int32_t> positions,
                   const HeadGeometry& heads, Buffer& y) override;

  private:
    bool begin_work(const char* kind) override;
    void end_work(const char* kind) override;
    /// The account of products, named by their matrices.
    Cost& products(std::span<const Projection> projections);

    bool is_on_ = false;
    std::chrono::steady_clock::time_point begun_;  // the work that is being done
    Profile profile_;
    std::unordered_map<const Weight*, const std::byte*> begins_;  // where each weight's bytes are
    std::unordered_map<const Weight*, std::string> kinds_;        // "ffn_down" of blk.7.ffn_down.weight
};

}  // namespace ingot::runtime

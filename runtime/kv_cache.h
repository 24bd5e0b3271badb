#pragma once
#include <memory>
#include <vector>

#include "runtime/architecture.h"
#include "runtime/backend.h"

namespace ingot::runtime {

/// Keys and values of every layer for one sequence: F16, (layer, position, kv_head, head_dim).
class KvCache {
  public:
    /// Throws Error with the number of bytes when they cannot be had.
    KvCache(Backend& backend, const Hyperparameters& model, int64_t n_context);

    int64_t n_context() const { return n_context_; }  // positions that fit
    int64_t n_used() const { return n_used_; }        // positions 0 … n_used-1 are filled
    void advance(int64_t n_tokens) { n_used_ += n_tokens; }
    /// Forgets everything from position `n` on. O(1).
    void truncate(int64_t n) { n_used_ = n; }
    KvLayer layer(int64_t index) const { return {keys_[size_t(index)].get(), values_[size_t(index)].get()}; }

    /// All of it, keys and values.
    static uint64_t size_bytes(const Hyperparameters& model, int64_t n_context);

  private:
    int64_t n_context_;
    int64_t n_used_ = 0;
    std::vector<std::unique_ptr<Buffer>> keys_, values_;  // per layer
};

}  // namespace ingot::runtime

#pragma once
#include <memory>
#include <vector>

#include "runtime/backend.h"
#include "runtime/hyperparameters.h"

namespace ingot::runtime {

/// Keys and values of every layer for one sequence: F16, (layer, position, kv_head, key_dim or value_dim).
class KvCache {
  public:
    /// Throws Error with the number of bytes when they cannot be had.
    KvCache(Backend& backend, const Hyperparameters& model, int64_t n_context);

    int64_t n_context() const { return n_context_; }  // positions that fit
    int64_t n_used() const { return n_used_; }        // positions 0 … n_used-1 are filled
    void advance(int64_t n_tokens) { n_used_ += n_tokens; }
    /// Forgets everything from position `n` on. O(1).
    void truncate(int64_t n) { n_used_ = n; }
    KvLayer layer(int64_t index) const {
        const Layer& layer = layers_[size_t(index)];
        return {layer.keys.get(), layer.values.get(), layer.key_width, layer.value_width};
    }

    /// All of it, keys and values.
    static uint64_t size_bytes(const Hyperparameters& model, int64_t n_context);

  private:
    struct Layer {
        std::unique_ptr<Buffer> keys, values;
        int64_t key_width, value_width;  // elements of a position
    };
    int64_t n_context_;
    int64_t n_used_ = 0;
    std::vector<Layer> layers_;
};

}  // namespace ingot::runtime

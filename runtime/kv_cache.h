#pragma once
#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/hyperparameters.h"

namespace ingot::runtime {

/// What the layers remember of one sequence. Attention: keys and values, (position, kv_head, key_dim or
/// value_dim); values that are the beginning of the keys aren't stored again. Recurrent layers: states,
/// floats, of the sequence so far; they cannot go back.
class KvCache {
  public:
    /// Throws Error with the number of bytes when they cannot be had.
    KvCache(Backend& backend, const Hyperparameters& model, int64_t n_context,
            CacheType type = CacheType::F16);

    int64_t n_context() const { return n_context_; }  // positions that fit
    int64_t n_used() const { return n_used_; }        // positions 0 … n_used-1 are filled
    void advance(int64_t n_tokens) { n_used_ += n_tokens; }
    /// Forgets everything from position `n` on. O(1). Throws Error when a recurrent layer would have to go
    /// back, except to the beginning or to where keep_states() was called last.
    void truncate(int64_t n);
    KvLayer layer(int64_t index) const {
        const Layer& layer = layers_[size_t(layers_[size_t(index)].source)];
        return {layer.keys.get(), (layer.values ? layer.values : layer.keys).get(), layer.key_width,
                layer.values ? layer.value_width : layer.key_width, type_};
    }
    struct States {
        Buffer* convolution;  // (n_taps - 1, mixed_width)
        Buffer* delta;        // (n_value_heads, key_dim, value_dim)
    };
    States states(int64_t index) const {
        const Layer& layer = layers_[size_t(index)];
        return {layer.convolution.now.get(), layer.delta.now.get()};
    }
    /// Copies the states of recurrent layers, so that truncate(n_used()) can bring them back.
    void keep_states();

    /// What a saved session holds of a sequence of n_positions: rows of keys and values, and states.
    struct Content {
        std::string name;  // "blk.7.keys"
        TensorType type;
        uint64_t row_elements, n_rows;
        Buffer* buffer;  // which begins with these rows
        bool is_state;   // of the whole sequence: of no use for a part of it
    };
    std::vector<Content> contents(int64_t n_positions) const;
    CacheType type() const { return type_; }
    bool has_states() const { return has_states_; }

    /// Whether the model's heads can be kept so.
    static bool fits_type(const Hyperparameters& model, CacheType type);
    /// All of it: keys, values and states.
    static uint64_t size_bytes(const Hyperparameters& model, int64_t n_context,
                               CacheType type = CacheType::F16);

  private:
    struct State {
        std::unique_ptr<Buffer> now, kept;
        int64_t n = 0;  // elements
    };
    struct Layer {
        std::unique_ptr<Buffer> keys, values;
        int64_t key_width = 0, value_width = 0;  // elements of a position
        int64_t source = 0;                      // the layer whose keys and values these are
        State convolution, delta;
    };
    void copy(const Buffer& from, int64_t n, Buffer& to);

    Backend& backend_;
    int64_t n_context_;
    CacheType type_;
    bool has_states_;
    int64_t n_kept_ = 0;  // positions that the kept states have seen
    int64_t n_used_ = 0;
    std::vector<Layer> layers_;
};

}  // namespace ingot::runtime

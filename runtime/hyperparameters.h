#pragma once
// What a file says about the geometry of its model.
#include <cstdint>
#include <vector>

#include "format/gguf.h"
#include "runtime/architecture.h"
#include "runtime/rope_table.h"

namespace ingot::runtime {

/// How positions enter a layer's attention.
enum class RopeUse : uint8_t {
    None,
    Common,  // Hyperparameters::rope
    Window,  // Hyperparameters::window_rope
};

/// One layer. Layers of a model may differ.
struct LayerGeometry {
    int64_t n_heads = 0;     // query heads
    int64_t n_kv_heads = 0;  // divides n_heads
    int64_t key_dim = 0;     // elements of a head of queries and keys
    int64_t value_dim = 0;   // elements of a head of values
    int64_t n_ff = 0;        // inner width of the feed-forward part
    int64_t window = 0;      // positions that attention sees; 0: all
    RopeUse rope = RopeUse::Common;
    bool has_experts = false;

    int64_t q_width() const { return n_heads * key_dim; }
    int64_t k_width() const { return n_kv_heads * key_dim; }
    int64_t v_width() const { return n_kv_heads * value_dim; }
    int64_t attended_width() const { return n_heads * value_dim; }
};

/// The geometry of one model, read from the header and validated: every number is in range, they agree with
/// each other, and no product of two of them overflows 64 bits.
struct Hyperparameters {
    const ModelFamily* family = nullptr;
    int64_t n_layers = 0;
    int64_t n_embd = 0;     // width of the residual stream
    int64_t n_vocab = 0;    // tokens
    int64_t n_context = 0;  // positions that the model was trained for
    std::vector<LayerGeometry> layers;

    float norm_epsilon = 0;
    bool parallel_residual = false;
    RopeParameters rope;         // of most layers
    RopeParameters window_rope;  // of those with a window
    float attention_scale = 0;   // of query · key; 0: 1/sqrt(key_dim)
    float attention_soft_cap = 0;
    float final_soft_cap = 0;
    float max_alibi_bias = 0;
    float clamp_qkv = 0;  // 0: none
    float embedding_scale = 1;
    float residual_scale = 1;
    float logit_scale = 1;

    /// The widest of the layers, in elements.
    template <typename Width>
    int64_t widest(Width width) const {
        int64_t most = 0;
        for (const LayerGeometry& layer : layers) most = most > width(layer) ? most : width(layer);
        return most;
    }

    /// Throws Error naming the key, what was found and what was expected.
    static Hyperparameters from_header(const GgufHeader& header);
};

}  // namespace ingot::runtime

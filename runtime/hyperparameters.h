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

enum class Mixer : uint8_t { Attention, LatentAttention, DeltaNet };

/// One layer. Layers of a model may differ.
struct LayerGeometry {
    Mixer mixer = Mixer::Attention;
    int64_t n_heads = 0;     // query heads
    int64_t n_kv_heads = 0;  // divides n_heads
    int64_t key_dim = 0;     // elements of a head of queries and keys
    int64_t value_dim = 0;   // elements of a head of values
    int64_t n_ff = 0;        // inner width of the feed-forward part
    int64_t window = 0;      // positions that attention sees; 0: all
    RopeUse rope = RopeUse::Common;
    int64_t kv_layer = 0;  // whose keys and values it sees: usually its own
    bool has_experts = false;
    int64_t n_ff_shared = 0;       // of the expert that sees every token; 0: there is none
    bool has_temperature = false;  // queries grow with the logarithm of their position

    int64_t q_width() const { return n_heads * key_dim; }
    int64_t k_width() const { return n_kv_heads * key_dim; }
    int64_t v_width() const { return n_kv_heads * value_dim; }
    int64_t attended_width() const { return n_heads * value_dim; }
};

/// Compressed keys and values (DeepSeek-V2, section 2.1): all heads share one compressed vector for each
/// position, and as much rotated key. What is stored is both, as the key of a single head.
struct LatentGeometry {
    int64_t query_rank = 0;   // 0: queries are not compressed
    int64_t rank = 0;         // elements of the compressed vector
    int64_t plain_dim = 0;    // elements of a head's key that aren't rotated
    int64_t rotated_dim = 0;  // … and that are
    int64_t value_dim = 0;    // of a head's values, once they are decompressed
};

struct DeltaGeometry {
    DeltaHeads heads;
    int64_t n_taps = 0;  // of the convolution before

    int64_t key_width() const { return heads.n_key_heads * heads.key_dim; }
    int64_t value_width() const { return heads.n_value_heads * heads.value_dim; }
    int64_t mixed_width() const { return 2 * key_width() + value_width(); }  // queries, keys, values
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
    LatentGeometry latent;       // of LatentAttention layers
    DeltaGeometry delta;         // of DeltaNet layers
    RoutingRule routing;         // of layers with experts
    int64_t n_ff_expert = 0;
    int64_t n_layer_embd = 0;   // width of the embedding that each layer has of its own; 0: there are none
    float attention_scale = 0;  // of query · key; 0: 1/sqrt(key_dim)
    float temperature_scale = 0;
    int64_t temperature_length = 0;  // positions
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

    bool has_recurrent_layers() const { return delta.n_taps != 0; }

    /// Throws Error naming the key, what was found and what was expected.
    static Hyperparameters from_header(const GgufHeader& header);
};

}  // namespace ingot::runtime

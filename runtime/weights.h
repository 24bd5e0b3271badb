#pragma once
#include <memory>
#include <vector>

#include "format/gguf.h"
#include "runtime/backend.h"
#include "runtime/hyperparameters.h"

namespace ingot::runtime {

/// A matrix (n_out, n_in) and what is added to its product, (n_out) or null.
struct Linear {
    std::unique_ptr<Weight> weight;
    std::unique_ptr<Buffer> bias;

    explicit operator bool() const { return weight != nullptr; }
    Projection into(Buffer& output) const { return {weight.get(), bias.get(), &output}; }
};

/// The factors of a norm, (n_groups, n), and what is added, or null.
struct NormWeights {
    std::unique_ptr<Buffer> weight, bias;

    explicit operator bool() const { return weight != nullptr; }
};

struct AttentionWeights {
    Linear q;                       // (n_heads * key_dim, n_embd)
    Linear k;                       // (n_kv_heads * key_dim, n_embd)
    Linear v;                       // (n_kv_heads * value_dim, n_embd)
    Linear output;                  // (n_embd, n_heads * value_dim)
    NormWeights q_norm, k_norm;     // see QkNorm
    std::unique_ptr<Buffer> sinks;  // (n_heads), or null
};

struct FeedForwardWeights {
    Linear gate, up;  // (n_ff, n_embd); no gate where the family has none
    Linear down;      // (n_embd, n_ff)
};

/// One layer's tensors on the device.
struct LayerWeights {
    NormWeights mixer_norm, mixer_post_norm;                // (n_embd), or none
    NormWeights feed_forward_norm, feed_forward_post_norm;  // (n_embd), or none
    AttentionWeights attention;
    FeedForwardWeights feed_forward;
};

/// A rope table on the device.
struct RopeWeights {
    std::unique_ptr<Buffer> frequencies;  // (n_rot/2), radians per position
    float magnitude = 1;
};

/// Every tensor that the forward pass reads. Loading checks each one's presence, shape and type before any of
/// its bytes are used; on the CPU the matrices are views into the mapped file.
struct Weights {
    std::unique_ptr<Weight> token_embedding;  // (n_vocab, n_embd)
    std::unique_ptr<Weight> positions;        // (n_context, n_embd), or null
    NormWeights embedding_norm;               // (n_embd), or none
    std::vector<LayerWeights> layers;
    NormWeights output_norm;  // (n_embd)
    Linear output;            // (n_vocab, n_embd); no matrix when the embedding serves as it

    RopeWeights rope;                      // of most layers …
    RopeWeights rope_long;                 // … in contexts beyond the original, where that differs
    RopeWeights rope_window;               // of layers with a window, where that differs
    std::unique_ptr<Buffer> alibi_slopes;  // (n_heads), or null

    const Weight& output_matrix() const { return output ? *output.weight : *token_embedding; }

    /// Throws Error naming the tensor, what was found and what was expected.
    static Weights load(const GgufFile& file, const Hyperparameters& model, Backend& backend);
};

}  // namespace ingot::runtime

#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/gguf_model.h"
#include "runtime/backend.h"
#include "runtime/hyperparameters.h"
#include "runtime/weight_memory.h"

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
    Linear q;                        // (n_heads * key_dim, n_embd)
    Linear k;                        // (n_kv_heads * key_dim, n_embd)
    Linear v;                        // (n_kv_heads * value_dim, n_embd)
    Linear output;                   // (n_embd, n_heads * value_dim)
    std::unique_ptr<Buffer> v_norm;  // (value_dim) ones, or null
    NormWeights q_norm, k_norm;      // see QkNorm
    std::unique_ptr<Buffer> sinks;   // (n_heads), or null
};

/// See LatentGeometry.
struct LatentWeights {
    Linear q;       // (n_heads * key_dim, n_embd or query_rank): plain, then rotated elements
    Linear q_down;  // (query_rank, n_embd), or none
    std::unique_ptr<Buffer> q_norm;   // (query_rank), or null
    Linear kv_down;                   // (rank + rotated_dim, n_embd)
    std::unique_ptr<Buffer> kv_norm;  // (rank)
    std::unique_ptr<Weight> k_up;     // (n_heads, rank, plain_dim): queries into the compressed space
    std::unique_ptr<Weight> v_up;     // (n_heads, value_dim, rank): values out of it
    Linear output;                    // (n_embd, n_heads * value_dim)
};

/// See DeltaGeometry.
struct DeltaWeights {
    Linear mixed;                   // (mixed_width, n_embd): queries, keys, values
    Linear gate;                    // (value_width, n_embd)
    Linear beta_alpha;              // (n_key_heads, (beta, alpha), n_value_heads / n_key_heads) rows, or …
    Linear beta, alpha;             // … (n_value_heads, n_embd) each
    std::unique_ptr<Buffer> taps;   // (mixed_width, n_taps)
    std::unique_ptr<Buffer> decay;  // (n_value_heads)
    std::unique_ptr<Buffer> alpha_bias;  // (n_value_heads)
    std::unique_ptr<Buffer> norm;        // (value_dim)
    std::unique_ptr<Buffer> unit;        // (key_dim): what turns an RMS norm into the length 1
    Linear output;                       // (n_embd, value_width)
};

struct FeedForwardWeights {
    Linear gate, up;  // (n_ff, n_embd); no gate where the family has none
    Linear down;      // (n_embd, n_ff)
};

/// Matrices of all experts behind each other, biases (n_experts, n_out) or null.
struct ExpertWeights {
    Linear router;                           // (n_experts, n_embd)
    std::unique_ptr<Buffer> selection_bias;  // (n_experts), or null
    std::unique_ptr<Buffer> scales;          // (n_experts), or null
    Linear gate, up;                         // (n_experts * n_ff_expert, n_embd) …
    Linear gate_up;                          // … or (n_experts * 2 n_ff_expert, n_embd), gates first
    Linear down;                             // (n_experts * n_embd, n_ff_expert)
    FeedForwardWeights shared;               // of the expert that sees every token, n_ff_shared wide, or none
    Linear shared_gate;                      // (1, n_embd), or none
};

/// Where experts stand beside a dense part (Gemma 4): the norms of what goes into each and comes out of it.
struct BesideWeights {
    NormWeights dense_post_norm, experts_norm, experts_post_norm;  // (n_embd)
    NormWeights router_norm;                                       // (n_embd)
};

/// A layer's own embedding of the tokens (Gemma 4), let in through a gate.
struct LayerEmbeddingWeights {
    Linear gate;       // (n_layer_embd, n_embd)
    Linear output;     // (n_embd, n_layer_embd)
    NormWeights norm;  // (n_embd)
};

/// One layer's tensors on the device: those of its mixer, and of its feed-forward part or its experts.
struct LayerWeights {
    NormWeights mixer_norm, mixer_post_norm;                // (n_embd), or none
    NormWeights feed_forward_norm, feed_forward_post_norm;  // (n_embd), or none
    AttentionWeights attention;
    LatentWeights latent;
    DeltaWeights delta;
    FeedForwardWeights feed_forward;
    ExpertWeights experts;
    BesideWeights beside;
    LayerEmbeddingWeights embedding;
    float output_scale = 1;  // of the residual stream, after the layer
};

/// A rope table on the device.
struct RopeWeights {
    std::unique_ptr<Buffer> frequencies;  // (n_rot/2), radians per position
    float magnitude = 1;
};

/// What stands in a tensor's place while a model is loaded: the same values in another type.
struct Replacement {
    std::string name;
    TensorType type{};
    std::span<const std::byte> bytes;  // must outlive the model
};

/// Every tensor that the forward pass reads. Loading checks each one's presence, shape and type before any of
/// its bytes are used; on the CPU the matrices are views into the mapped file.
struct Weights {
    std::unique_ptr<Weight> token_embedding;        // (n_vocab, n_embd)
    std::unique_ptr<Weight> positions;              // (n_context, n_embd), or null
    NormWeights embedding_norm;                     // (n_embd), or none
    std::unique_ptr<Weight> layer_embeddings;       // (n_vocab, n_layers * n_layer_embd), or null
    Linear layer_projection;                        // (n_layers * n_layer_embd, n_embd)
    std::unique_ptr<Buffer> layer_projection_norm;  // (n_layer_embd)
    std::vector<LayerWeights> layers;
    NormWeights output_norm;  // (n_embd)
    Linear output;            // (n_vocab, n_embd); no matrix when the embedding serves as it

    RopeWeights rope;                      // of most layers …
    RopeWeights rope_long;                 // … in contexts beyond the original, where that differs
    RopeWeights rope_window;               // of layers with a window, where that differs
    std::unique_ptr<Buffer> alibi_slopes;  // (n_heads), or null

    const Weight& output_matrix() const { return output ? *output.weight : *token_embedding; }

    /// `memory`: where the bytes are; null: in the mapped file. Throws Error naming the tensor, what was
    /// found and what was expected.
    static Weights load(const GgufModel& file, const Hyperparameters& model, Backend& backend,
                        const Replacement* replacement = nullptr, const WeightMemory* memory = nullptr);
};

}  // namespace ingot::runtime

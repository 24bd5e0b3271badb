#pragma once
#include <memory>
#include <vector>

#include "format/gguf.h"
#include "runtime/architecture.h"
#include "runtime/backend.h"

namespace ingot::runtime {

/// One layer's tensors on the device. Matrices are (n_out, n_in); biases are null where the model has none.
struct LayerWeights {
    std::unique_ptr<Buffer> attention_norm;         // (n_embd)
    std::unique_ptr<Weight> q;                      // (n_heads * head_dim, n_embd)
    std::unique_ptr<Weight> k, v;                   // (n_kv_heads * head_dim, n_embd)
    std::unique_ptr<Weight> attention_output;       // (n_embd, n_heads * head_dim)
    std::unique_ptr<Buffer> q_bias;                 // (n_heads * head_dim)
    std::unique_ptr<Buffer> k_bias, v_bias;         // (n_kv_heads * head_dim)
    std::unique_ptr<Buffer> attention_output_bias;  // (n_embd)
    std::unique_ptr<Buffer> ffn_norm;               // (n_embd)
    std::unique_ptr<Weight> gate, up;               // (n_ff, n_embd)
    std::unique_ptr<Weight> down;                   // (n_embd, n_ff)
    std::unique_ptr<Buffer> gate_bias, up_bias;     // (n_ff)
    std::unique_ptr<Buffer> down_bias;              // (n_embd)
};

/// Every tensor that the forward pass reads. Loading checks each one's presence, shape and type before any of
/// its bytes are used; on the CPU the matrices are views into the mapped file.
struct Weights {
    std::unique_ptr<Weight> token_embedding;  // (n_vocab, n_embd)
    std::vector<LayerWeights> layers;
    std::unique_ptr<Buffer> output_norm;       // (n_embd)
    std::unique_ptr<Weight> output;            // (n_vocab, n_embd); null when the embedding serves as it
    std::unique_ptr<Buffer> rope_frequencies;  // (n_rot/2), radians per position
    float rope_magnitude = 1;

    const Weight& output_matrix() const { return output ? *output : *token_embedding; }

    /// Throws Error naming the tensor, what was found and what was expected.
    static Weights load(const GgufFile& file, const Hyperparameters& model, Backend& backend);
};

}  // namespace ingot::runtime

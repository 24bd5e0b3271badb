#pragma once
// One batch of tokens on its way through the layers: what their parts share. A part is a function of its
// input x (n_tokens, n_embd) that writes y (n_tokens, n_embd); norms around it and the residual stream are
// forward.cpp's.
#include <memory>
#include <span>

#include "runtime/hyperparameters.h"
#include "runtime/kv_cache.h"
#include "runtime/weights.h"

namespace ingot::runtime {

/// Activations of one batch, floats, as wide as the widest layer needs.
struct Workspace {
    Workspace(Backend& backend, const Hyperparameters& model, int64_t n_batch);

    std::unique_ptr<Buffer> q;         // (n_batch, n_heads, key_dim)
    std::unique_ptr<Buffer> k, v;      // (n_batch, n_kv_heads, key_dim or value_dim)
    std::unique_ptr<Buffer> attended;  // (n_batch, n_heads, value_dim)
    std::unique_ptr<Buffer> gate, up;  // (n_batch, n_ff), or (n_batch * n_used, n_ff_expert)
    std::unique_ptr<Buffer> scales;    // (n_batch): of queries, or of what the shared expert says

    // Latent attention and delta nets: what has no place above.
    std::unique_ptr<Buffer> wide;         // (n_batch, queries with their gates; or all that is convolved)
    std::unique_ptr<Buffer> narrow;       // (n_batch, query_rank; or plain queries; or the delta nets' gate)
    std::unique_ptr<Buffer> alpha, beta;  // (n_batch, n_value_heads)
    std::unique_ptr<Buffer> heads;        // (n_batch, n_heads) of int32_t: each head's own number

    // Experts.
    std::unique_ptr<Buffer> router_logits;            // (n_batch, n_experts)
    std::unique_ptr<Buffer> experts, expert_weights;  // (n_batch, n_used)
    std::unique_ptr<Buffer> ones;                     // (n_batch, n_used)
    std::unique_ptr<Buffer> slots;                    // (n_batch * n_used, n_embd)
    std::unique_ptr<Buffer> fused;   // (n_batch * n_used, 2 n_ff_expert), where the file has it so
    std::unique_ptr<Buffer> shared;  // (n_batch, n_embd)
    std::unique_ptr<Buffer> normed;  // (n_batch, n_embd)

    // Embeddings of the layers' own.
    std::unique_ptr<Buffer> layer_embeddings;         // (n_batch, n_layers, n_layer_embd)
    std::unique_ptr<Buffer> layer_projection;         // likewise
    std::unique_ptr<Buffer> layer_gate, layer_input;  // (n_batch, n_layer_embd)
    std::unique_ptr<Buffer> layer_output;             // (n_batch, n_embd)
};

/// Tokens of a batch that belong to one sequence: `first` … first + n_tokens - 1.
struct SequencePart {
    KvCache* cache;
    int64_t first, n_tokens;
};

struct Pass {
    Backend& backend;
    const Hyperparameters& model;
    const Weights& weights;
    Workspace& space;
    std::span<const SequencePart> parts;  // together all tokens of the batch, in order
    std::span<const int32_t> positions;   // of the batch's tokens, ascending in each part
    int64_t n_context;                    // positions of each sequence's cache

    int64_t n_tokens() const { return int64_t(positions.size()); }
    std::span<const int32_t> positions_of(const SequencePart& part) const {
        return positions.subspan(size_t(part.first), size_t(part.n_tokens));
    }
};

/// One sequence's rows of a buffer (n_tokens, width) of floats: what sees the cache sees one sequence at a
/// time.
class PartRows {
  public:
    PartRows(const Pass& pass, const SequencePart& part, Buffer& all, int64_t width);
    operator Buffer&() const { return *rows_; }

  private:
    std::unique_ptr<Buffer> view_;  // null: the part is the whole batch
    Buffer* rows_;
};

/// y = x's rows, normed as the family norms.
void norm_rows(const Pass& pass, const NormWeights& weights, const Buffer& x, int64_t n_rows, Buffer& y);

/// A norm of n elements of each of n_rows rows, `stride` elements apart, in place.
void norm_part(const Pass& pass, const Buffer& weight, int64_t n, int64_t stride, int64_t n_rows, Buffer& x);

/// The table of a layer's rotation.
Rope rope_of(const Pass& pass, const LayerGeometry& layer);

/// Queries (n_tokens, width) grow with the logarithm of their position.
void apply_temperature(const Pass& pass, int64_t width, Buffer& q);

/// y = output(attention(rope(q(x)), rope(k(x)), v(x)))
void attention(const Pass& pass, int64_t layer, const Buffer& x, Buffer& y);

/// Attention over compressed keys and values (DeepSeek-V2, section 2.1), in the compressed space: queries are
/// brought there, and what attention finds is brought back.
void latent_attention(const Pass& pass, int64_t layer, const Buffer& x, Buffer& y);

/// A gated delta net (Yang et al. 2024) over convolved queries, keys and values.
void delta_net(const Pass& pass, int64_t layer, const Buffer& x, Buffer& y);

/// y = down(activation(gate(x)) * up(x)), of n_tokens rows
void feed_forward(const Pass& pass, const FeedForwardWeights& weights, int64_t n_ff, int64_t n_tokens,
                  const Buffer& x, Buffer& y);

/// y = the weighted sum of what the chosen experts say, and the shared one, of n_tokens rows
void experts(const Pass& pass, int64_t layer, int64_t n_tokens, const Buffer& router_x, const Buffer& x,
             Buffer& y);

/// y = norm(dense part (norm(x))) + norm(experts(norm(x))), each with norms of its own, of n_tokens rows
void experts_beside_dense(const Pass& pass, int64_t layer, int64_t n_tokens, const Buffer& x, Buffer& y);

/// Every layer's own embeddings of the tokens, from their table and the residual stream x; see Workspace.
void embed_for_layers(const Pass& pass, std::span<const Token> tokens, const Buffer& x);
/// x += norm(output(activation(gate(x)) * the layer's embeddings)), of the first n_rows rows
void add_layer_embeddings(const Pass& pass, int64_t layer, int64_t n_rows, Buffer& x);

}  // namespace ingot::runtime

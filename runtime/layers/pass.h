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
    std::unique_ptr<Buffer> gate, up;  // (n_batch, n_ff)
};

struct Pass {
    Backend& backend;
    const Hyperparameters& model;
    const Weights& weights;
    KvCache& cache;
    Workspace& space;
    std::span<const int32_t> positions;  // of the batch's tokens, ascending

    int64_t n_tokens() const { return int64_t(positions.size()); }
};

/// y = x's rows, normed as the family norms.
void norm_rows(const Pass& pass, const NormWeights& weights, const Buffer& x, int64_t n_rows, Buffer& y);

/// y = output(attention(rope(q(x)), rope(k(x)), v(x)))
void attention(const Pass& pass, int64_t layer, const Buffer& x, Buffer& y);

/// y = down(activation(gate(x)) * up(x)), of n_tokens rows
void feed_forward(const Pass& pass, const FeedForwardWeights& weights, int64_t n_ff, int64_t n_tokens,
                  const Buffer& x, Buffer& y);

}  // namespace ingot::runtime

// Attention over the cached positions, in all the variants that a family may ask for.
#include <cmath>

#include "runtime/layers/pass.h"

namespace ingot::runtime {
namespace {

// Norms the heads of queries or keys, x (n_tokens, n_heads, head_dim), in place.
void norm_heads(const Pass& pass, const NormWeights& weights, int64_t n_heads, int64_t head_dim, Buffer& x) {
    if (!weights) return;
    Norm norm{pass.model.family->norm, pass.model.norm_epsilon, head_dim, weights.weight.get(),
              weights.bias.get()};
    int64_t n_rows = pass.n_tokens() * n_heads;
    const QkNorm kind = pass.model.family->qk_norm;
    if (kind == QkNorm::OptionalEach) norm.n_groups = n_heads;
    if (kind == QkNorm::Width || kind == QkNorm::OptionalWidth) {
        norm.n = n_heads * head_dim;
        n_rows = pass.n_tokens();
    }
    pass.backend.norm(norm, x, n_rows, x);
}

Rope rope_of(const Pass& pass, const LayerGeometry& layer) {
    const bool in_window = layer.rope == RopeUse::Window;
    const RopeParameters& parameters = in_window ? pass.model.window_rope : pass.model.rope;
    const bool is_long =
        pass.weights.rope_long.frequencies && pass.cache.n_context() > parameters.original_context;
    const RopeWeights& table =
        in_window ? pass.weights.rope_window : (is_long ? pass.weights.rope_long : pass.weights.rope);
    return {pass.model.family->rope_pairing, parameters.n_rot, table.frequencies.get(), table.magnitude};
}

}  // namespace

void attention(const Pass& pass, int64_t index, const Buffer& x, Buffer& y) {
    const Hyperparameters& model = pass.model;
    const LayerGeometry& layer = model.layers[size_t(index)];
    const AttentionWeights& w = pass.weights.layers[size_t(index)].attention;
    const int64_t n_tokens = pass.n_tokens();
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    const Projection qkv[] = {w.q.into(*space.q), w.k.into(*space.k), w.v.into(*space.v)};
    backend.matmul(x, n_tokens, qkv);
    if (model.clamp_qkv > 0) {
        backend.map(Elementwise::Clamp, model.clamp_qkv, n_tokens * layer.q_width(), *space.q);
        backend.map(Elementwise::Clamp, model.clamp_qkv, n_tokens * layer.k_width(), *space.k);
        backend.map(Elementwise::Clamp, model.clamp_qkv, n_tokens * layer.v_width(), *space.v);
    }

    norm_heads(pass, w.q_norm, layer.n_heads, layer.key_dim, *space.q);
    norm_heads(pass, w.k_norm, layer.n_kv_heads, layer.key_dim, *space.k);
    if (layer.rope != RopeUse::None) {
        const Rope rope = rope_of(pass, layer);
        backend.rope(rope, pass.positions, layer.n_heads, layer.key_dim, *space.q);
        backend.rope(rope, pass.positions, layer.n_kv_heads, layer.key_dim, *space.k);
    }

    const KvLayer cache = pass.cache.layer(index);
    backend.write_cache(*space.k, pass.positions, layer.k_width(), *cache.keys);
    backend.write_cache(*space.v, pass.positions, layer.v_width(), *cache.values);

    HeadGeometry heads{layer.n_heads, layer.n_kv_heads, layer.key_dim, layer.value_dim, 0};
    heads.scale = model.attention_scale > 0 ? model.attention_scale : 1 / std::sqrt(float(layer.key_dim));
    heads.window = layer.window;
    heads.soft_cap = model.attention_soft_cap;
    heads.slopes = pass.weights.alibi_slopes.get();
    heads.sinks = w.sinks.get();
    backend.attention(*space.q, cache, pass.positions, heads, *space.attended);

    const Projection output[] = {w.output.into(y)};
    backend.matmul(*space.attended, n_tokens, output);
}

}  // namespace ingot::runtime

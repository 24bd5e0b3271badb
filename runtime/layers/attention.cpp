// Attention over the cached positions, in all the variants that a family may ask for.
#include <cmath>
#include <span>

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

void norm_queries_and_keys(const Pass& pass, const LayerGeometry& layer, const AttentionWeights& w) {
    norm_heads(pass, w.q_norm, layer.n_heads, layer.key_dim, *pass.space.q);
    norm_heads(pass, w.k_norm, layer.n_kv_heads, layer.key_dim, *pass.space.k);
    if (w.v_norm && w.k) {
        norm_part(pass, *w.v_norm, layer.value_dim, layer.value_dim, pass.n_tokens() * layer.n_kv_heads,
                  *pass.space.v);
    }
}

}  // namespace

void attention(const Pass& pass, int64_t index, const Buffer& x, Buffer& y) {
    const Hyperparameters& model = pass.model;
    const LayerGeometry& layer = model.layers[size_t(index)];
    const AttentionWeights& w = pass.weights.layers[size_t(index)].attention;
    const int64_t n_tokens = pass.n_tokens();
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    // With gates, a head's query and its gate lie behind each other. Keys and values may be another layer's;
    // keys may be the values, too.
    const bool gated = model.family->gated_attention;
    const bool has_own_keys = layer.kv_layer == index;
    Projection projections[3] = {w.q.into(gated ? *space.wide : *space.q)};
    size_t n_projections = 1;
    if (w.k) projections[n_projections++] = w.k.into(*space.k);
    if (w.v) projections[n_projections++] = w.v.into(*space.v);
    backend.matmul(x, n_tokens, std::span(projections, n_projections));
    if (w.k && !w.v) {
        const int64_t n = layer.v_width();
        backend.copy_columns(*space.k, {n, 0}, n_tokens, n, *space.v, {n, 0});
    }
    if (gated) {
        const int64_t n = layer.key_dim;
        backend.copy_columns(*space.wide, {2 * n, 0}, n_tokens * layer.n_heads, n, *space.q, {n, 0});
        backend.copy_columns(*space.wide, {2 * n, n}, n_tokens * layer.n_heads, n, *space.narrow, {n, 0});
    }
    if (model.clamp_qkv > 0) {
        backend.map(Elementwise::Clamp, model.clamp_qkv, n_tokens * layer.q_width(), *space.q);
        backend.map(Elementwise::Clamp, model.clamp_qkv, n_tokens * layer.k_width(), *space.k);
        backend.map(Elementwise::Clamp, model.clamp_qkv, n_tokens * layer.v_width(), *space.v);
    }

    const bool norm_last = model.family->qk_norm == QkNorm::HeadAfterRope;
    if (!norm_last) norm_queries_and_keys(pass, layer, w);
    if (layer.rope != RopeUse::None) {
        const Rope rope = rope_of(pass, layer);
        backend.rope(rope, pass.positions, layer.n_heads, layer.key_dim, *space.q);
        if (has_own_keys) backend.rope(rope, pass.positions, layer.n_kv_heads, layer.key_dim, *space.k);
        if (norm_last) norm_queries_and_keys(pass, layer, w);
    }
    if (layer.has_temperature) apply_temperature(pass, layer.q_width(), *space.q);

    HeadGeometry heads{layer.n_heads, layer.n_kv_heads, layer.key_dim, layer.value_dim, 0};
    heads.scale = model.attention_scale > 0 ? model.attention_scale : 1 / std::sqrt(float(layer.key_dim));
    heads.window = layer.window;
    heads.chunked = model.family->chunked_windows;
    heads.soft_cap = model.attention_soft_cap;
    heads.slopes = pass.weights.alibi_slopes.get();
    heads.sinks = w.sinks.get();
    for (const SequencePart& part : pass.parts) {
        const KvLayer cache = part.cache->layer(index);
        const auto positions = pass.positions_of(part);
        const auto rows = [&](Buffer& all, int64_t width) { return PartRows(pass, part, all, width); };
        if (has_own_keys) {
            const int64_t k_width = layer.k_width(), v_width = layer.v_width();
            backend.write_cache(rows(*space.k, k_width), positions, k_width, cache.type, *cache.keys);
            backend.write_cache(rows(*space.v, v_width), positions, v_width, cache.type, *cache.values);
        }
        const PartRows attended = rows(*space.attended, layer.attended_width());
        backend.attention(rows(*space.q, layer.q_width()), cache, positions, heads, attended);
    }
    if (gated) {
        backend.activate(Activation::Sigmoid, *space.narrow, space.attended.get(),
                         n_tokens * layer.attended_width(), *space.attended);
    }

    const Projection output[] = {w.output.into(y)};
    backend.matmul(*space.attended, n_tokens, output);
}

}  // namespace ingot::runtime

// Compressed keys and values. A head's score for a position is plain_q · (k_up · c) + rotated_q · rotated_k,
// with the position's compressed vector c; that is (k_upᵀ · plain_q) · c + …, so that only c and the rotated
// key are stored, as the one key of all heads, whose beginning is also the value.
#include <cmath>

#include "runtime/layers/pass.h"

namespace ingot::runtime {
namespace {

// q (n_tokens, n_heads, rank + rotated_dim): the plain part in the compressed space, then the rotated part.
void make_queries(const Pass& pass, const LayerGeometry& layer, const LatentWeights& w, const Buffer& x) {
    const LatentGeometry& g = pass.model.latent;
    const int64_t n_tokens = pass.n_tokens();
    const int64_t n_rows = n_tokens * layer.n_heads;
    const int64_t head_dim = g.plain_dim + g.rotated_dim;  // as projected
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    if (w.q_down) {
        const Projection down[] = {w.q_down.into(*space.narrow)};
        backend.matmul(x, n_tokens, down);
        norm_part(pass, *w.q_norm, g.query_rank, g.query_rank, n_tokens, *space.narrow);
    }
    const Projection up[] = {w.q.into(*space.wide)};
    backend.matmul(w.q_down ? *space.narrow : x, n_tokens, up);

    backend.copy_columns(*space.wide, {head_dim, 0}, n_rows, g.plain_dim, *space.narrow, {g.plain_dim, 0});
    const ExpertChoice own{space.heads.get(), layer.n_heads, layer.n_heads};  // each head its own matrix
    const Projection absorbed[] = {{w.k_up.get(), nullptr, space.attended.get()}};
    backend.matmul_experts(*space.narrow, true, n_tokens, own, absorbed);
    backend.copy_columns(*space.attended, {g.rank, 0}, n_rows, g.rank, *space.q, {layer.key_dim, 0});
    backend.copy_columns(*space.wide, {head_dim, g.plain_dim}, n_rows, g.rotated_dim, *space.q,
                         {layer.key_dim, g.rank});
}

}  // namespace

void latent_attention(const Pass& pass, int64_t index, const Buffer& x, Buffer& y) {
    const Hyperparameters& model = pass.model;
    const LatentGeometry& g = model.latent;
    const LayerGeometry& layer = model.layers[size_t(index)];
    const LatentWeights& w = pass.weights.layers[size_t(index)].latent;
    const int64_t n_tokens = pass.n_tokens();
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    make_queries(pass, layer, w, x);
    const Projection down[] = {w.kv_down.into(*space.k)};
    backend.matmul(x, n_tokens, down);
    norm_part(pass, *w.kv_norm, g.rank, layer.key_dim, n_tokens, *space.k);
    Rope rope = rope_of(pass, layer);
    rope.first = g.rank;
    backend.rope(rope, pass.positions, layer.n_heads, layer.key_dim, *space.q);
    backend.rope(rope, pass.positions, 1, layer.key_dim, *space.k);
    if (layer.has_temperature) apply_temperature(pass, layer.q_width(), *space.q);

    HeadGeometry heads{layer.n_heads, 1, layer.key_dim, layer.value_dim, 0};
    // YaRN sharpens the whole score, not only its rotated part (section 3.1.2 of DeepSeek-V2's code and
    // paper).
    const float sharpened = yarn_magnitude(model.rope.factor, model.rope.log_multiplier_all);
    heads.scale = sharpened * sharpened / std::sqrt(float(g.plain_dim + g.rotated_dim));
    heads.window = layer.window;
    for (const SequencePart& part : pass.parts) {
        const KvLayer cache = part.cache->layer(index);
        const auto positions = pass.positions_of(part);
        const PartRows keys(pass, part, *space.k, layer.key_dim);
        backend.write_cache(keys, positions, layer.key_dim, cache.type, *cache.keys);
        const PartRows attended(pass, part, *space.attended, layer.attended_width());
        backend.attention(PartRows(pass, part, *space.q, layer.q_width()), cache, positions, heads, attended);
    }

    const ExpertChoice own{space.heads.get(), layer.n_heads, layer.n_heads};
    const Projection values[] = {{w.v_up.get(), nullptr, space.v.get()}};
    backend.matmul_experts(*space.attended, true, n_tokens, own, values);
    const Projection output[] = {w.output.into(y)};
    backend.matmul(*space.v, n_tokens, output);
}

}  // namespace ingot::runtime

// Gemma 4's small models give each layer an embedding of its own for every token: from a table, and from the
// residual stream at the beginning.
#include <cmath>

#include "runtime/layers/pass.h"

namespace ingot::runtime {

void embed_for_layers(const Pass& pass, std::span<const Token> tokens, const Buffer& x) {
    const Hyperparameters& model = pass.model;
    const int64_t n_tokens = pass.n_tokens();
    const int64_t n = n_tokens * model.n_layers * model.n_layer_embd;
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    backend.embed_rows(*pass.weights.layer_embeddings, tokens, *space.layer_embeddings);
    backend.map(Elementwise::Scale, std::sqrt(float(model.n_layer_embd)), n, *space.layer_embeddings);
    const Projection projection[] = {pass.weights.layer_projection.into(*space.layer_projection)};
    backend.matmul(x, n_tokens, projection);
    backend.map(Elementwise::Scale, 1 / std::sqrt(float(model.n_embd)), n, *space.layer_projection);
    norm_part(pass, *pass.weights.layer_projection_norm, model.n_layer_embd, model.n_layer_embd,
              n_tokens * model.n_layers, *space.layer_projection);
    backend.add(*space.layer_projection, n, *space.layer_embeddings);
    backend.map(Elementwise::Scale, std::sqrt(0.5f), n, *space.layer_embeddings);
}

void add_layer_embeddings(const Pass& pass, int64_t layer, int64_t n_rows, Buffer& x) {
    const Hyperparameters& model = pass.model;
    const LayerEmbeddingWeights& w = pass.weights.layers[size_t(layer)].embedding;
    const int64_t n = model.n_layer_embd;
    const int64_t stride = model.n_layers * n;
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    backend.copy_columns(*space.layer_embeddings, {stride, layer * n}, n_rows, n, *space.layer_input, {n, 0});
    const Projection gate[] = {w.gate.into(*space.layer_gate)};
    backend.matmul(x, n_rows, gate);
    backend.activate(model.family->activation, *space.layer_gate, space.layer_input.get(), n_rows * n,
                     *space.layer_gate);
    const Projection output[] = {w.output.into(*space.layer_output)};
    backend.matmul(*space.layer_gate, n_rows, output);
    norm_rows(pass, w.norm, *space.layer_output, n_rows, *space.layer_output);
    backend.add(*space.layer_output, n_rows * model.n_embd, x);
}

}  // namespace ingot::runtime

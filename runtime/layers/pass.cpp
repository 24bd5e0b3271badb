#include "runtime/layers/pass.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ingot::runtime {

Workspace::Workspace(Backend& backend, const Hyperparameters& model, int64_t n_batch) {
    const auto rows = [&](int64_t width) {
        return backend.allocate(size_t(n_batch) * size_t(width) * sizeof(float));
    };
    const LatentGeometry& latent = model.latent;
    const DeltaGeometry& delta = model.delta;
    const int64_t n_heads = model.widest([](const LayerGeometry& layer) { return layer.n_heads; });
    const int64_t q_width = model.widest([](const LayerGeometry& layer) { return layer.q_width(); });
    const int64_t k_width = model.widest([](const LayerGeometry& layer) { return layer.k_width(); });
    const int64_t v_width = model.widest([](const LayerGeometry& layer) { return layer.v_width(); });
    const int64_t attended_width =
        model.widest([](const LayerGeometry& layer) { return layer.attended_width(); });
    q = rows(std::max(q_width, delta.key_width()));
    k = rows(std::max(k_width, delta.key_width()));
    v = rows(std::max({v_width, delta.value_width(), n_heads * latent.value_dim}));
    attended = rows(std::max(attended_width, delta.value_width()));
    scales = rows(1);

    const int64_t latent_width = n_heads * (latent.plain_dim + latent.rotated_dim);
    if (latent.rank != 0 || model.has_recurrent_layers()) {
        wide = rows(std::max({2 * q_width, latent_width, delta.mixed_width()}));
        narrow =
            rows(std::max({latent.query_rank, n_heads * latent.plain_dim, delta.mixed_width(), q_width}));
    }
    if (model.has_recurrent_layers()) {
        alpha = rows(2 * delta.heads.n_value_heads);
        beta = rows(2 * delta.heads.n_value_heads);
    }
    if (latent.rank != 0) {
        heads = rows(n_heads);
        std::vector<int32_t> numbers(size_t(n_batch * n_heads));
        for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = int32_t(int64_t(i) % n_heads);
        backend.upload(std::as_bytes(std::span(numbers)), *heads);
    }

    if (model.n_layer_embd != 0) {
        layer_embeddings = rows(model.n_layers * model.n_layer_embd);
        layer_projection = rows(model.n_layers * model.n_layer_embd);
        layer_gate = rows(model.n_layer_embd);
        layer_input = rows(model.n_layer_embd);
        layer_output = rows(model.n_embd);
    }

    const int64_t n_used = model.routing.n_used;
    const int64_t n_ff =
        model.widest([](const LayerGeometry& layer) { return std::max(layer.n_ff, layer.n_ff_shared); });
    gate = rows(std::max(n_ff, n_used * model.n_ff_expert));
    up = rows(std::max(n_ff, n_used * model.n_ff_expert));
    if (n_used == 0) return;
    router_logits = rows(model.routing.n_experts);
    experts = rows(n_used);
    expert_weights = rows(n_used);
    ones = rows(n_used);
    const std::vector<float> units(size_t(n_batch * n_used), 1.0f);
    backend.upload(std::as_bytes(std::span(units)), *ones);
    slots = rows(n_used * model.n_embd);
    fused = rows(n_used * 2 * model.n_ff_expert);
    shared = rows(model.n_embd);
    normed = rows(model.n_embd);
}

PartRows::PartRows(const Pass& pass, const SequencePart& part, Buffer& all, int64_t width) : rows_(&all) {
    if (pass.parts.size() == 1) return;
    const size_t row_bytes = size_t(width) * sizeof(float);
    view_ = pass.backend.view(all, size_t(part.first) * row_bytes, size_t(part.n_tokens) * row_bytes);
    rows_ = view_.get();
}

void norm_rows(const Pass& pass, const NormWeights& weights, const Buffer& x, int64_t n_rows, Buffer& y) {
    const Norm norm{pass.model.family->norm, pass.model.norm_epsilon, pass.model.n_embd, weights.weight.get(),
                    weights.bias.get()};
    pass.backend.norm(norm, x, n_rows, y);
}

void norm_part(const Pass& pass, const Buffer& weight, int64_t n, int64_t stride, int64_t n_rows, Buffer& x) {
    Norm norm{NormKind::Rms, pass.model.norm_epsilon, n, &weight};
    norm.stride = stride;
    pass.backend.norm(norm, x, n_rows, x);
}

Rope rope_of(const Pass& pass, const LayerGeometry& layer) {
    const bool in_window = layer.rope == RopeUse::Window;
    const RopeParameters& parameters = in_window ? pass.model.window_rope : pass.model.rope;
    const bool is_long = pass.weights.rope_long.frequencies && pass.n_context > parameters.original_context;
    const RopeWeights& table =
        in_window ? pass.weights.rope_window : (is_long ? pass.weights.rope_long : pass.weights.rope);
    return {pass.model.family->rope_pairing, parameters.n_rot, table.frequencies.get(), table.magnitude};
}

void apply_temperature(const Pass& pass, int64_t width, Buffer& q) {
    const int64_t offset = pass.model.family->temperature_unrotated ? 1 : 0;
    std::vector<float> scales;
    for (const int32_t position : pass.positions) {
        const int64_t n_lengths = (int64_t(position) + offset) / pass.model.temperature_length;
        scales.push_back(1 + pass.model.temperature_scale * std::log(float(n_lengths + 1)));
    }
    pass.backend.upload(std::as_bytes(std::span(scales)), *pass.space.scales);
    pass.backend.scale_rows(q, *pass.space.scales, pass.n_tokens(), width, 1, q);
}

}  // namespace ingot::runtime

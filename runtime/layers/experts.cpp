#include "runtime/layers/pass.h"

namespace ingot::runtime {
namespace {

// slots (n_tokens * n_used, n_embd): what each token's experts say
void ask_experts(const Pass& pass, const ExpertWeights& w, int64_t n_tokens, const Buffer& x) {
    const Hyperparameters& model = pass.model;
    const ExpertChoice choice{pass.space.experts.get(), model.routing.n_experts, model.routing.n_used};
    const int64_t n_slots = n_tokens * choice.n_used;
    const int64_t n_ff = model.n_ff_expert;
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    const bool weigh_inputs = model.family->weigh_inputs;
    if (weigh_inputs) {
        backend.scale_rows(x, *space.expert_weights, n_slots, model.n_embd, choice.n_used, *space.slots);
    }
    const Buffer& input = weigh_inputs ? *space.slots : x;
    if (w.gate_up) {
        const Projection both[] = {w.gate_up.into(*space.fused)};
        backend.matmul_experts(input, weigh_inputs, n_tokens, choice, both);
        backend.copy_columns(*space.fused, {2 * n_ff, 0}, n_slots, n_ff, *space.gate, {n_ff, 0});
        backend.copy_columns(*space.fused, {2 * n_ff, n_ff}, n_slots, n_ff, *space.up, {n_ff, 0});
    } else {
        const Projection both[] = {w.gate.into(*space.gate), w.up.into(*space.up)};
        backend.matmul_experts(input, weigh_inputs, n_tokens, choice, both);
    }
    backend.activate(model.family->activation, *space.gate, space.up.get(), n_slots * n_ff, *space.gate);
    const Projection down[] = {w.down.into(*space.slots)};
    backend.matmul_experts(*space.gate, true, n_tokens, choice, down);
}

}  // namespace

void experts(const Pass& pass, int64_t index, int64_t n_tokens, const Buffer& router_x, const Buffer& x,
             Buffer& y) {
    const Hyperparameters& model = pass.model;
    const ExpertWeights& w = pass.weights.layers[size_t(index)].experts;
    const int64_t n_ff_shared = model.layers[size_t(index)].n_ff_shared;
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    RoutingRule rule = model.routing;
    rule.selection_bias = w.selection_bias.get();
    rule.expert_scales = w.scales.get();
    const Projection router[] = {w.router.into(*space.router_logits)};
    backend.matmul(router_x, n_tokens, router);
    backend.route(rule, *space.router_logits, n_tokens, *space.experts, *space.expert_weights);
    ask_experts(pass, w, n_tokens, x);
    const Buffer& weights = model.family->weigh_inputs ? *space.ones : *space.expert_weights;
    backend.combine(*space.slots, weights, n_tokens, rule.n_used, model.n_embd, y);

    if (n_ff_shared == 0) return;
    feed_forward(pass, w.shared, n_ff_shared, n_tokens, x, *space.shared);
    if (w.shared_gate) {
        const Projection gate[] = {w.shared_gate.into(*space.scales)};
        backend.matmul(x, n_tokens, gate);
        backend.activate(Activation::Sigmoid, *space.scales, nullptr, n_tokens, *space.scales);
        backend.scale_rows(*space.shared, *space.scales, n_tokens, model.n_embd, 1, *space.shared);
    }
    backend.add(*space.shared, n_tokens * model.n_embd, y);
}

void experts_beside_dense(const Pass& pass, int64_t index, int64_t n_tokens, const Buffer& x, Buffer& y) {
    const LayerWeights& w = pass.weights.layers[size_t(index)];
    Workspace& space = pass.space;
    // `shared` is free: these families have no expert that sees every token.
    norm_rows(pass, w.beside.router_norm, x, n_tokens, *space.shared);
    norm_rows(pass, w.beside.experts_norm, x, n_tokens, *space.normed);
    experts(pass, index, n_tokens, *space.shared, *space.normed, y);
    norm_rows(pass, w.beside.experts_post_norm, y, n_tokens, y);

    norm_rows(pass, w.feed_forward_norm, x, n_tokens, *space.normed);
    feed_forward(pass, w.feed_forward, pass.model.layers[size_t(index)].n_ff, n_tokens, *space.normed,
                 *space.shared);
    norm_rows(pass, w.beside.dense_post_norm, *space.shared, n_tokens, *space.shared);
    pass.backend.add(*space.shared, n_tokens * pass.model.n_embd, y);
}

}  // namespace ingot::runtime

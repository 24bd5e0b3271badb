#include "runtime/layers/pass.h"

namespace ingot::runtime {
namespace {

// beta and alpha (n_tokens, n_value_heads)
void make_gates(const Pass& pass, const DeltaWeights& w, const Buffer& x) {
    const DeltaHeads& heads = pass.model.delta.heads;
    Workspace& space = pass.space;
    if (!w.beta_alpha) {
        const Projection gates[] = {w.beta.into(*space.beta), w.alpha.into(*space.alpha)};
        pass.backend.matmul(x, pass.n_tokens(), gates);
        return;
    }
    // For each key head, the betas of its value heads, then their alphas.
    const int64_t n_sharing = heads.n_value_heads / heads.n_key_heads;
    const int64_t n_rows = pass.n_tokens() * heads.n_key_heads;
    const Projection both[] = {w.beta_alpha.into(*space.narrow)};
    pass.backend.matmul(x, pass.n_tokens(), both);
    pass.backend.copy_columns(*space.narrow, {2 * n_sharing, 0}, n_rows, n_sharing, *space.beta,
                              {n_sharing, 0});
    pass.backend.copy_columns(*space.narrow, {2 * n_sharing, n_sharing}, n_rows, n_sharing, *space.alpha,
                              {n_sharing, 0});
}

}  // namespace

void delta_net(const Pass& pass, int64_t index, const Buffer& x, Buffer& y) {
    const Hyperparameters& model = pass.model;
    const DeltaGeometry& g = model.delta;
    const DeltaWeights& w = pass.weights.layers[size_t(index)].delta;
    const int64_t n_tokens = pass.n_tokens();
    Backend& backend = pass.backend;
    Workspace& space = pass.space;

    make_gates(pass, w, x);
    const Projection mixed[] = {w.mixed.into(*space.wide)};
    backend.matmul(x, n_tokens, mixed);
    for (const SequencePart& part : pass.parts) {
        const PartRows from(pass, part, *space.wide, g.mixed_width());
        const PartRows to(pass, part, *space.narrow, g.mixed_width());
        backend.convolve(from, *w.taps, part.n_tokens, g.mixed_width(), g.n_taps, part.cache->n_used() == 0,
                         *part.cache->states(index).convolution, to);
    }
    backend.activate(Activation::Silu, *space.narrow, nullptr, n_tokens * g.mixed_width(), *space.narrow);
    const auto take = [&](int64_t first, int64_t n, Buffer& part) {
        backend.copy_columns(*space.narrow, {g.mixed_width(), first}, n_tokens, n, part, {n, 0});
    };
    take(0, g.key_width(), *space.q);
    take(g.key_width(), g.key_width(), *space.k);
    take(2 * g.key_width(), g.value_width(), *space.v);

    // x / sqrt(Σx² + ε) is an RMS norm whose weights are 1/sqrt(n).
    constexpr float kEpsilon = 1e-6f;
    const int64_t key_dim = g.heads.key_dim;
    const Norm unit{NormKind::Rms, kEpsilon / float(key_dim), key_dim, w.unit.get()};
    backend.norm(unit, *space.q, n_tokens * g.heads.n_key_heads, *space.q);
    backend.norm(unit, *space.k, n_tokens * g.heads.n_key_heads, *space.k);

    for (const SequencePart& part : pass.parts) {
        const auto rows = [&](Buffer& all, int64_t width) { return PartRows(pass, part, all, width); };
        const PartRows q = rows(*space.q, g.key_width()), k = rows(*space.k, g.key_width());
        const PartRows v = rows(*space.v, g.value_width());
        const PartRows alpha = rows(*space.alpha, g.heads.n_value_heads);
        const PartRows beta = rows(*space.beta, g.heads.n_value_heads);
        const auto at = [](const PartRows& part_rows) { return &static_cast<Buffer&>(part_rows); };
        const DeltaInputs inputs{at(q), at(k), at(v), at(alpha), at(beta), w.decay.get(), w.alpha_bias.get()};
        backend.delta_net(g.heads, inputs, part.n_tokens, part.cache->n_used() == 0,
                          *part.cache->states(index).delta, rows(*space.attended, g.value_width()));
    }

    norm_part(pass, *w.norm, g.heads.value_dim, g.heads.value_dim, n_tokens * g.heads.n_value_heads,
              *space.attended);
    const Projection gate[] = {w.gate.into(*space.narrow)};
    backend.matmul(x, n_tokens, gate);
    backend.activate(Activation::Silu, *space.narrow, space.attended.get(), n_tokens * g.value_width(),
                     *space.attended);
    const Projection output[] = {w.output.into(y)};
    backend.matmul(*space.attended, n_tokens, output);
}

}  // namespace ingot::runtime

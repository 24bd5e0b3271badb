#include "runtime/layers/pass.h"

namespace ingot::runtime {

Workspace::Workspace(Backend& backend, const Hyperparameters& model, int64_t n_batch) {
    const auto floats = [&](auto width) {
        return backend.allocate(size_t(n_batch) * size_t(model.widest(width)) * sizeof(float));
    };
    q = floats([](const LayerGeometry& layer) { return layer.q_width(); });
    k = floats([](const LayerGeometry& layer) { return layer.k_width(); });
    v = floats([](const LayerGeometry& layer) { return layer.v_width(); });
    attended = floats([](const LayerGeometry& layer) { return layer.attended_width(); });
    gate = floats([](const LayerGeometry& layer) { return layer.n_ff; });
    up = floats([](const LayerGeometry& layer) { return layer.n_ff; });
}

void norm_rows(const Pass& pass, const NormWeights& weights, const Buffer& x, int64_t n_rows, Buffer& y) {
    const Norm norm{pass.model.family->norm, pass.model.norm_epsilon, pass.model.n_embd, weights.weight.get(),
                    weights.bias.get()};
    pass.backend.norm(norm, x, n_rows, y);
}

}  // namespace ingot::runtime

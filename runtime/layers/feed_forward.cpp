#include "runtime/layers/pass.h"

namespace ingot::runtime {

void feed_forward(const Pass& pass, const FeedForwardWeights& weights, int64_t n_ff, int64_t n_tokens,
                  const Buffer& x, Buffer& y) {
    const Activation activation = pass.model.family->activation;
    Workspace& space = pass.space;
    if (weights.gate) {
        const Projection gate_up[] = {weights.gate.into(*space.gate), weights.up.into(*space.up)};
        pass.backend.matmul(x, n_tokens, gate_up);
        pass.backend.activate(activation, *space.gate, space.up.get(), n_tokens * n_ff, *space.gate);
    } else {
        const Projection up[] = {weights.up.into(*space.gate)};
        pass.backend.matmul(x, n_tokens, up);
        pass.backend.activate(activation, *space.gate, nullptr, n_tokens * n_ff, *space.gate);
    }
    const Projection down[] = {weights.down.into(y)};
    pass.backend.matmul(*space.gate, n_tokens, down);
}

}  // namespace ingot::runtime

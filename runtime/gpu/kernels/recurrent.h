#pragma once
// Layers with a state instead of a cache. Their columns know nothing of each other.
#include "arguments.h"
#include "rows.h"

namespace ingot {
namespace runtime {
namespace gpu {

KERNEL(convolve, ConvolveArguments) {
    const int column = int(number_of(me));
    if (column >= a.n) return;
    const int n_before = a.n_taps - 1;  // rows of the state
    // A row of x, or before it.
    for (int token = 0; token < a.n_tokens; ++token) {
        float sum = 0.0f;
        for (int tap = 0; tap < a.n_taps; ++tap) {
            const int from = token - n_before + tap;
            float x = 0.0f;
            if (from >= 0) {
                x = a.x[int64_t(from) * a.n + column];
            } else if (a.fresh == 0) {
                x = a.state[int64_t(n_before + from) * a.n + column];
            }
            sum += a.weight[int64_t(column) * a.n_taps + tap] * x;
        }
        a.y[int64_t(token) * a.n + column] = sum;
    }
    // Upwards: a row is read before it is overwritten.
    for (int i = 0; i < n_before; ++i) {
        const int from = a.n_tokens - n_before + i;
        float x = 0.0f;
        if (from >= 0) {
            x = a.x[int64_t(from) * a.n + column];
        } else if (a.fresh == 0) {
            x = a.state[int64_t(n_before + from) * a.n + column];
        }
        a.state[int64_t(i) * a.n + column] = x;
    }
}

KERNEL(delta_net, DeltaNetArguments) {
    const int head = int(me.y);
    const int column = int(me.x * me.n_threads + me.index);
    if (column >= a.value_dim) return;
    const int key_head = a.tiled != 0 ? head % a.n_key_heads : head / (a.n_value_heads / a.n_key_heads);
    GLOBAL(float) matrix = a.state + int64_t(head) * a.key_dim * a.value_dim + column;
    if (a.fresh != 0) {
        for (int i = 0; i < a.key_dim; ++i) matrix[int64_t(i) * a.value_dim] = 0.0f;
    }
    for (int token = 0; token < a.n_tokens; ++token) {
        const int64_t gate = int64_t(token) * a.n_value_heads + head;
        GLOBAL(const float) q = a.q + (int64_t(token) * a.n_key_heads + key_head) * a.key_dim;
        GLOBAL(const float) k = a.k + (int64_t(token) * a.n_key_heads + key_head) * a.key_dim;
        const float shifted = a.alpha[gate] + a.alpha_bias[head];
        const float softplus = max(shifted, 0.0f) + log(1.0f + exp(-fabs(shifted)));
        const float kept = exp(a.decay[head] * softplus);
        const float learned = 1.0f / (1.0f + exp(-a.beta[gate]));
        // What the matrix knows of the key, after forgetting; what the value differs by is learned.
        float known = 0.0f;
        for (int i = 0; i < a.key_dim; ++i) {
            const float element = matrix[int64_t(i) * a.value_dim] * kept;
            matrix[int64_t(i) * a.value_dim] = element;
            known = fma(element, float(k[i]), known);
        }
        const float difference = (a.v[gate * a.value_dim + column] - known) * learned;
        float answer = 0.0f;
        for (int i = 0; i < a.key_dim; ++i) {
            const float element = fma(float(k[i]), difference, float(matrix[int64_t(i) * a.value_dim]));
            matrix[int64_t(i) * a.value_dim] = element;
            answer = fma(element, q[i] * a.scale, answer);
        }
        a.y[gate * a.value_dim + column] = answer;
    }
}

}  // namespace gpu
}  // namespace runtime
}  // namespace ingot

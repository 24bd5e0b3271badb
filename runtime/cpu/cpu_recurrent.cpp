// Layers with a state instead of a cache.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/cpu/cpu_backend.h"
#include "runtime/cpu/cpu_internal.h"

namespace ingot::runtime {

void CpuBackend::convolve(const Buffer& x, const Buffer& weight, int64_t n_tokens, int64_t n, int64_t n_taps,
                          bool fresh, Buffer& state, Buffer& y) {
    const int64_t n_before = n_taps - 1;  // rows of the state
    if (fresh) std::fill_n(data(state), n_before * n, 0.0f);
    const auto row = [&](int64_t token) {  // of x, or before it
        return token < 0 ? data(state) + (n_before + token) * n : data(x) + token * n;
    };
    each_token(n_tokens, n * n_taps, [&](int64_t token) {
        float* sum = data(y) + token * n;
        std::fill_n(sum, n, 0.0f);
        for (int64_t tap = 0; tap < n_taps; ++tap) {
            const float* from = row(token - n_before + tap);
            const float* factors = data(weight) + tap;  // every n_taps-th
            for (int64_t i = 0; i < n; ++i) sum[i] += factors[i * n_taps] * from[i];
        }
    });
    // Upwards: a row is read before it is overwritten.
    for (int64_t i = 0; i < n_before; ++i) {
        std::memmove(data(state) + i * n, row(n_tokens - n_before + i), size_t(n) * sizeof(float));
    }
}

// Each head on its own: its state stays in the cache while the tokens pass.
void CpuBackend::delta_net(const DeltaHeads& heads, const DeltaInputs& inputs, int64_t n_tokens, bool fresh,
                           Buffer& state, Buffer& y) {
    const int64_t n_k = heads.key_dim, n_v = heads.value_dim;
    const int64_t n_sharing = heads.n_value_heads / heads.n_key_heads;
    const float scale = 1 / std::sqrt(float(n_k));
    const bool parallel = n_tokens * heads.n_value_heads * n_k * n_v >= kParallelElements;
    deal(heads.n_value_heads, parallel, [&](int thread, int64_t head) {
        const int64_t key_head = heads.tiled ? head % heads.n_key_heads : head / n_sharing;
        float* const matrix = data(state) + head * n_k * n_v;  // (key_dim, value_dim)
        if (fresh) std::fill_n(matrix, n_k * n_v, 0.0f);
        AlignedVector<float>& difference = scratch_[size_t(thread)].products;  // (value_dim)
        if (difference.size() < size_t(n_v)) difference.resize(size_t(n_v));
        for (int64_t token = 0; token < n_tokens; ++token) {
            const int64_t gate = token * heads.n_value_heads + head;
            const float* q = data(*inputs.q) + (token * heads.n_key_heads + key_head) * n_k;
            const float* k = data(*inputs.k) + (token * heads.n_key_heads + key_head) * n_k;
            const float* v = data(*inputs.v) + gate * n_v;
            float* answer = data(y) + gate * n_v;
            const float shifted = data(*inputs.alpha)[gate] + data(*inputs.alpha_bias)[head];
            const float softplus = shifted > 20 ? shifted : std::log1p(std::exp(shifted));
            const float kept = std::exp(data(*inputs.decay)[head] * softplus);
            const float learned = 1 / (1 + std::exp(-data(*inputs.beta)[gate]));

            // What the matrix knows of the key, after forgetting; what the value differs by is learned.
            std::fill_n(difference.data(), n_v, 0.0f);
            for (int64_t i = 0; i < n_k; ++i) {
                float* row = matrix + i * n_v;
                for (int64_t j = 0; j < n_v; ++j) row[j] *= kept;
                for (int64_t j = 0; j < n_v; ++j) difference[size_t(j)] += row[j] * k[i];
            }
            for (int64_t j = 0; j < n_v; ++j)
                difference[size_t(j)] = (v[j] - difference[size_t(j)]) * learned;
            std::fill_n(answer, n_v, 0.0f);
            for (int64_t i = 0; i < n_k; ++i) {
                float* row = matrix + i * n_v;
                const float query = q[i] * scale;
                for (int64_t j = 0; j < n_v; ++j) row[j] += k[i] * difference[size_t(j)];
                for (int64_t j = 0; j < n_v; ++j) answer[j] += row[j] * query;
            }
        }
    });
}

}  // namespace ingot::runtime

// The oracle for everything that is not a matrix product.
#include <algorithm>
#include <cmath>

#include "format/half.h"
#include "runtime/cpu/scalar/scalar.h"

namespace ingot::runtime::cpu::scalar {
namespace {

// Below this all of a block's activations count as zero; its reciprocal times 127 is still finite.
constexpr float kSmallest = 1e-30f;

// Rounds x (n) to quants * scale, to nearest, ties to even; returns scale. Every instruction set does exactly
// these float operations, so the quants are the same everywhere. x must be finite.
float quantize(const float* x, int n, int8_t* quants) {
    float largest = 0;
    for (int i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
    const bool zero = largest < kSmallest;
    const float factor = zero ? 0.0f : 127.0f / largest;
    for (int i = 0; i < n; ++i) quants[i] = int8_t(std::lrint(x[i] * factor));
    return zero ? 0.0f : largest / 127.0f;
}

float to_float(uint16_t half) {
    return half_to_float(half);
}
float to_float(float x) {
    return x;
}

float curve(Activation activation, float x) {
    switch (activation) {
        case Activation::Silu:
            return x / (1 + std::exp(-x));
        case Activation::Gelu:
            return x * 0.5f * (1 + std::erf(x * 0.70710678f));
        case Activation::GeluTanh:
            return x * 0.5f * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
        case Activation::Relu:
            return std::max(x, 0.0f);
        case Activation::ReluSquared:
            return std::max(x, 0.0f) * std::max(x, 0.0f);
        case Activation::Sigmoid:
            return 1 / (1 + std::exp(-x));
        case Activation::SiluClamped:
            return std::min(x, 7.0f) / (1 + std::exp(-1.702f * std::min(x, 7.0f)));
    }
    return x;
}

}  // namespace

void quantize_q8_0(const float* x, void* row, int64_t n) {
    auto* const quants = static_cast<int8_t*>(row);
    auto* const scales = reinterpret_cast<float*>(quants + n);
    float* const sums = scales + n / 32;
    for (int64_t b = 0; b < n / 32; ++b) {
        scales[b] = quantize(x + 32 * b, 32, quants + 32 * b);
        int sum = 0;
        for (int i = 0; i < 32; ++i) sum += quants[32 * b + i];
        sums[b] = scales[b] * float(sum);
    }
}

void quantize_q8_k(const float* x, void* row, int64_t n) {
    auto* const blocks = static_cast<ActivationBlock256*>(row);
    for (int64_t b = 0; b < n / 256; ++b) {
        blocks[b].scale = quantize(x + 256 * b, 256, blocks[b].quants);
        for (int s = 0; s < 16; ++s) {
            int sum = 0;
            for (int i = 0; i < 16; ++i) sum += blocks[b].quants[16 * s + i];
            blocks[b].sums[s] = int16_t(sum);
        }
    }
}

// The mean is accumulated in double.
void rms_norm(const float* x, const float* weight, float epsilon, float* y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += double(x[i]) * double(x[i]);
    const float factor = float(1 / std::sqrt(sum / double(n) + double(epsilon)));
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factor * weight[i];
}

// Mean and variance are accumulated in double; the variance about the mean, which loses no digits.
void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* y, int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) sum += double(x[i]);
    const double mean = sum / double(n);
    for (int64_t i = 0; i < n; ++i) squares += (double(x[i]) - mean) * (double(x[i]) - mean);
    const float factor = float(1 / std::sqrt(squares / double(n) + double(epsilon)));
    for (int64_t i = 0; i < n; ++i) {
        const float normed = (x[i] - float(mean)) * factor * weight[i];
        y[i] = bias != nullptr ? normed + bias[i] : normed;
    }
}

void activate(Activation activation, const float* gate, const float* up, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
        const float u = up != nullptr ? up[i] : 1.0f;
        y[i] = curve(activation, gate[i]) *
               (activation == Activation::SiluClamped ? std::clamp(u, -7.0f, 7.0f) + 1 : u);
    }
}

void soft_cap(float* x, float cap, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = cap * std::tanh(x[i] / cap);
}

void add(const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void to_half(const float* x, uint16_t* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = float_to_half(x[i]);
}

// softmax(scale * queries · keys) · values. The largest score is subtracted before exp, so nothing overflows;
// sums are float, in order of position.
template <typename Element>
static void attend(const AttentionArguments& a) {
    const auto* keys = static_cast<const Element*>(a.keys);
    const auto* values = static_cast<const Element*>(a.values);
    for (int64_t q = 0; q < a.n_queries; ++q) {
        const float* query = a.queries + q * a.key_dim;  // (key_dim)
        float* scores = a.scores + q * a.n_positions;    // (n_positions)
        float* output = a.output + q * a.value_dim;      // (value_dim)
        float largest = a.sinks != nullptr ? a.sinks[q] : -INFINITY;
        for (int64_t p = 0; p < a.n_positions; ++p) {
            const Element* key = keys + p * a.key_stride;
            float dot = 0;
            for (int64_t i = 0; i < a.key_dim; ++i) dot += query[i] * to_float(key[i]);
            float score = dot * a.scale;
            if (a.soft_cap > 0) score = a.soft_cap * std::tanh(score / a.soft_cap);
            if (a.slopes != nullptr) score -= a.slopes[q] * float(a.n_positions - 1 - p);
            scores[p] = score;
            largest = std::max(largest, score);
        }
        float sum = a.sinks != nullptr ? std::exp(a.sinks[q] - largest) : 0.0f;
        for (int64_t p = 0; p < a.n_positions; ++p) sum += scores[p] = std::exp(scores[p] - largest);
        if (a.log_sums != nullptr) a.log_sums[q] = largest + std::log(sum);
        std::fill_n(output, a.value_dim, 0.0f);
        for (int64_t p = 0; p < a.n_positions; ++p) {
            const Element* value = values + p * a.value_stride;
            const float probability = scores[p] / sum;
            for (int64_t i = 0; i < a.value_dim; ++i) output[i] += probability * to_float(value[i]);
        }
    }
}

void attention(const AttentionArguments& a) {
    a.float_cache ? attend<float>(a) : attend<uint16_t>(a);
}

}  // namespace ingot::runtime::cpu::scalar

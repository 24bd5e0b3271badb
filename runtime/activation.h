#pragma once
#include <cstdint>

namespace ingot::runtime {

/// The curve between the two halves of a feed-forward part. Plain data: kernels compiled with raised flags
/// include it.
enum class Activation : uint8_t {
    Silu,         // x / (1 + exp(-x))
    Gelu,         // x (1 + erf(x / √2)) / 2
    GeluTanh,     // x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2
    Relu,         // max(x, 0)
    ReluSquared,  // max(x, 0)²
    Sigmoid,      // 1 / (1 + exp(-x))
    SiluClamped,  // GPT-OSS: g / (1 + exp(-1.702 g)), g = min(x, 7); `up` becomes clamp(up, -7, 7) + 1
};

}  // namespace ingot::runtime

#pragma once
// config.json -> the model's dimensions, and GGUF's hyperparameter keys.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converters/architectures/family.h"
#include "converters/sources/json.h"
#include "format/metadata.h"

namespace ingot::converters {

/// Rotary position embedding with a stretched context.
struct RopeScaling {
    enum class Kind : uint8_t { None, Linear, Yarn, Llama3 };
    Kind kind = Kind::None;
    double factor = 1;
    uint64_t original_context = 0;                                         // tokens; Yarn and Llama3
    double low_frequency = 1, high_frequency = 4;                          // Llama3
    std::optional<double> extrapolation, attention, beta_fast, beta_slow;  // Yarn
};

/// What config.json says of a model that a family describes. Validated: no dimension is zero, heads divide.
struct ModelConfig {
    const Family* family = nullptr;
    uint64_t n_layers = 0;
    uint64_t hidden = 0;        // elements of a token's vector
    uint64_t feed_forward = 0;  // elements
    uint64_t n_heads = 0;
    uint64_t n_kv_heads = 0;
    uint64_t head_dim = 0;    // elements
    uint64_t vocabulary = 0;  // tokens
    bool tied_output = false;
    bool attention_bias = false;
    bool mlp_bias = false;
    double rope_theta = 10000;
    RopeScaling rope;
    std::vector<std::string> warnings;

    uint64_t dimension(Dimension dimension) const;  // elements; 0 for None
};

/// Throws Error when the architecture is not supported (the message lists those that are), when the
/// checkpoint is already quantized, or when a number is missing or makes no sense.
ModelConfig read_model_config(const Json& config);

/// The "<architecture>.*" keys.
void write_hyperparameters(const ModelConfig& model, const Json& config, Metadata& metadata);

/// Llama 3's stretched rotary frequencies as divisors, (head_dim / 2): the tensor rope_freqs.weight.
std::vector<float> llama3_rope_factors(const ModelConfig& model);

}  // namespace ingot::converters

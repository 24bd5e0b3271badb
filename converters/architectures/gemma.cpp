// Gemma 1, 2 and 3: norms store their difference from one, embeddings are scaled by √hidden, the output is
// tied. Gemma 2 adds norms behind both parts of a layer, soft caps and a window in every second layer; Gemma
// 3 norms of queries and keys instead of caps, and a window in five layers of six, with its own rotary base.
#include <cmath>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kGelu[] = {"gelu_pytorch_tanh", "gelu_new", "gelu"};

static constexpr TensorRule norm(std::string_view source, std::string_view target) {
    return {source, target, {hidden}, {plus_one}};
}
static constexpr TensorRule kNormBefore =
    norm("model.layers.{bid}.input_layernorm.weight", "blk.{bid}.attn_norm.weight");
static constexpr TensorRule kFinalNorm = norm("model.norm.weight", "output_norm.weight");

/// Heads are as wide as head_dim says, 256 in all of them.
static void head_keys(const ModelConfig& model, Hyperparameters& keys) {
    keys.set_uint("attention.key_length", model.head_dim);
    keys.set_uint("attention.value_length", model.head_dim);
}

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};
static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kNormBefore,
    query(),
    key(),
    kValue,
    kAttentionOutput,
    norm("model.layers.{bid}.post_attention_layernorm.weight", "blk.{bid}.ffn_norm.weight"),
    kGate,
    kUp,
    kDown,
    kFinalNorm,
    kOutput,
};
static constexpr std::string_view kGemmaClasses[] = {"GemmaForCausalLM"};
static constexpr std::string_view kGemmaTypes[] = {"gemma"};
extern const Family kGemma{.name = "Gemma",
                           .classes = kGemmaClasses,
                           .model_types = kGemmaTypes,
                           .architecture = "gemma",
                           .tensors = kTensors,
                           .numbers = kNumbers,
                           .activations = kGelu,
                           .tied_by_default = true,
                           .more_keys = [](const ModelConfig& model, const Json&, Hyperparameters& keys) {
                               head_keys(model, keys);
                           }};

/// The scale of attention scores. llama.cpp derives it from the head, or in the 27B models from the hidden
/// size; where that isn't what the checkpoint says, it says so itself.
static void attention_scale(const ModelConfig& model, const Json& config, uint64_t layers_of_27b,
                            Hyperparameters& keys) {
    const double scalar = config.get_number("query_pre_attn_scalar").value_or(double(model.head_dim));
    const uint64_t usual = model.n_layers == layers_of_27b ? model.hidden / model.n_heads : model.head_dim;
    if (scalar != double(usual)) keys.set_float("attention.scale", 1 / std::sqrt(scalar));
}

#define LAYER_NORMS                                                                                     \
    norm("model.layers.{bid}.post_attention_layernorm.weight", "blk.{bid}.post_attention_norm.weight"), \
        norm("model.layers.{bid}.pre_feedforward_layernorm.weight", "blk.{bid}.ffn_norm.weight"),       \
        norm("model.layers.{bid}.post_feedforward_layernorm.weight", "blk.{bid}.post_ffw_norm.weight")

static constexpr NumberRule kGemma2Numbers[] = {
    kContext,
    kEpsilon,
    {"attn_logit_softcapping", "attn_logit_softcapping", NumberKind::Float32, 50.0},
    {"final_logit_softcapping", "final_logit_softcapping", NumberKind::Float32, 30.0},
    {"sliding_window", "attention.sliding_window", NumberKind::Uint32, 4096},
};
static constexpr TensorRule kGemma2Tensors[] = {
    kEmbedding,  kNormBefore, query(), key(), kValue,     kAttentionOutput,
    LAYER_NORMS, kGate,       kUp,     kDown, kFinalNorm, kOutput,
};
static constexpr std::string_view kGemma2Classes[] = {"Gemma2ForCausalLM"};
static constexpr std::string_view kGemma2Types[] = {"gemma2"};
extern const Family kGemma2{
    .name = "Gemma 2",
    .classes = kGemma2Classes,
    .model_types = kGemma2Types,
    .architecture = "gemma2",
    .tensors = kGemma2Tensors,
    .numbers = kGemma2Numbers,
    .activations = kGelu,
    .tied_by_default = true,
    .more_keys = [](const ModelConfig& model, const Json& config, Hyperparameters& keys) {
        head_keys(model, keys);
        attention_scale(model, config, 46, keys);
    }};

static constexpr NumberRule kGemma3Numbers[] = {
    {"max_position_embeddings", "context_length", NumberKind::Uint32, 131072},
    kEpsilon,
    {"final_logit_softcapping", "final_logit_softcapping", NumberKind::Float32, {}, true},
    {"sliding_window", "attention.sliding_window", NumberKind::Uint32, 4096},
};
static constexpr TensorRule kGemma3Tensors[] = {
    kEmbedding,  kNormBefore,
    query(),     query_norm(head_dim, plus_one),
    key(),       key_norm(head_dim, plus_one),
    kValue,      kAttentionOutput,
    LAYER_NORMS, kGate,
    kUp,         kDown,
    kFinalNorm,  kOutput,
};
#undef LAYER_NORMS
static void refine_gemma3(const Json& config, ModelConfig& model) {
    model.rope_theta = 1e6;
    model.rope_theta_sliding = 1e4;
    if (!config.find("head_dim")) model.head_dim = model.rotary_dim = 256;  // the class's own defaults
    const uint64_t period = config.get_uint("sliding_window_pattern").value_or(6);
    if (config.find("layer_types") || period == 0) return;
    for (uint64_t i = 0; i < model.n_layers; ++i) model.layers[i].sliding = (i + 1) % period != 0;
}
static void gemma3_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    head_keys(model, keys);
    attention_scale(model, config, 62, keys);
    std::vector<bool> pattern;
    bool usual = true;
    for (uint64_t i = 0; i < model.n_layers; ++i) {
        pattern.push_back(model.layers[i].sliding);
        usual &= pattern.back() == ((i + 1) % 6 != 0);
    }
    if (!usual) keys.set_bools("attention.sliding_window_pattern", pattern);
}
static constexpr std::string_view kGemma3Classes[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"};
static constexpr std::string_view kGemma3Types[] = {"gemma3_text", "gemma3"};
extern const Family kGemma3{.name = "Gemma 3",
                            .classes = kGemma3Classes,
                            .model_types = kGemma3Types,
                            .architecture = "gemma3",
                            .tensors = kGemma3Tensors,
                            .numbers = kGemma3Numbers,
                            .activations = kGelu,
                            .tied_by_default = true,
                            .refine = refine_gemma3,
                            .more_keys = gemma3_keys};

}  // namespace ingot::converters

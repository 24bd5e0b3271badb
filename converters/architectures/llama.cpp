// Llama 1–3.x and what shares its layers under other names: Granite scales four of their results, SmolLM3
// leaves the rotation out in every fourth.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(interleave_queries),
    query_bias(with_attention_bias, interleave_queries),
    key(interleave_keys),
    key_bias(with_attention_bias, interleave_keys),
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    attention_output_bias(with_attention_bias),
    kFeedForwardNorm,
    kGate,
    {"model.layers.{bid}.mlp.gate_proj.bias", "blk.{bid}.ffn_gate.bias", {feed_forward}, {}, with_mlp_bias},
    kUp,
    {"model.layers.{bid}.mlp.up_proj.bias", "blk.{bid}.ffn_up.bias", {feed_forward}, {}, with_mlp_bias},
    kDown,
    {"model.layers.{bid}.mlp.down_proj.bias", "blk.{bid}.ffn_down.bias", {hidden}, {}, with_mlp_bias},
    kOutputNorm,
    kOutput,
};

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

static constexpr std::string_view kLlamaClasses[] = {"LlamaForCausalLM", "LLaMAForCausalLM"};
static constexpr std::string_view kLlamaTypes[] = {"llama"};
extern const Family kLlama{.name = "Llama",
                           .classes = kLlamaClasses,
                           .model_types = kLlamaTypes,
                           .architecture = "llama",
                           .tensors = kTensors,
                           .numbers = kNumbers,
                           .activations = kSilu};

static constexpr NumberRule kGraniteNumbers[] = {
    kContext,
    kEpsilon,
    {"attention_multiplier", "attention.scale", NumberKind::Float32, 1.0},
    {"embedding_multiplier", "embedding_scale", NumberKind::Float32, 1.0},
    {"residual_multiplier", "residual_scale", NumberKind::Float32, 1.0},
    {"logits_scaling", "logit_scale", NumberKind::Float32, 1.0},
};
static constexpr std::string_view kGraniteClasses[] = {"GraniteForCausalLM"};
static constexpr std::string_view kGraniteTypes[] = {"granite"};
extern const Family kGranite{.name = "Granite",
                             .classes = kGraniteClasses,
                             .model_types = kGraniteTypes,
                             .architecture = "granite",
                             .tensors = kTensors,
                             .numbers = kGraniteNumbers,
                             .activations = kSilu};

/// Readers know one pattern only: every fourth layer without rotation.
static void check_smollm3(const Json& config, ModelConfig& model) {
    const Json* rotated = config.find("no_rope_layers");  // despite its name, 1 where a layer does rotate
    if (!rotated) return;
    const auto flags = rotated->elements();
    for (uint64_t layer = 0; layer < model.n_layers && layer < flags.size(); ++layer) {
        if (flags[layer].whole_number() != ((layer + 1) % 4 == 0 ? 0u : 1u)) {
            fail(
                "{}: \"no_rope_layers\" is not the pattern that SmolLM3 has in GGUF: none in every fourth "
                "layer",
                config.where());
        }
    }
}
static constexpr std::string_view kSmolLm3Classes[] = {"SmolLM3ForCausalLM"};
static constexpr std::string_view kSmolLm3Types[] = {"smollm3"};
extern const Family kSmolLm3{.name = "SmolLM3",
                             .classes = kSmolLm3Classes,
                             .model_types = kSmolLm3Types,
                             .architecture = "smollm3",
                             .tensors = kTensors,
                             .numbers = kNumbers,
                             .activations = kSilu,
                             .tied_by_default = true,
                             .refine = check_smollm3};

}  // namespace ingot::converters

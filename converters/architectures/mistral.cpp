// Mistral 7B and its kin: Llama's layers without biases; the first version attends to a sliding window.
// Mixtral has experts. Ministral 3 sharpens attention with the distance from the beginning.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(interleave_queries),
    key(interleave_keys),
    kValue,
    kAttentionOutput,
    kFeedForwardNorm,
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutput,
};

static void window_key(const ModelConfig& model, const Json&, Hyperparameters& keys) {
    if (model.window > 0) keys.set_uint("attention.sliding_window", model.window);
}
static constexpr std::string_view kMistralClasses[] = {"MistralForCausalLM"};
static constexpr std::string_view kMistralTypes[] = {"mistral"};
extern const Family kMistral{.name = "Mistral",
                             .classes = kMistralClasses,
                             .model_types = kMistralTypes,
                             .architecture = "llama",
                             .tensors = kTensors,
                             .numbers = kNumbers,
                             .activations = kSilu,
                             .more_keys = window_key};

#define MIXTRAL_EXPERT(PART) "model.layers.{bid}.block_sparse_moe.experts.{xid}." PART ".weight"
static constexpr TensorRule kMixtralTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(interleave_queries),
    key(interleave_keys),
    kValue,
    kAttentionOutput,
    kFeedForwardNorm,
    {"model.layers.{bid}.block_sparse_moe.gate.weight", "blk.{bid}.ffn_gate_inp.weight", {hidden, n_experts}},
    kRouter,
    {MIXTRAL_EXPERT("w1"),
     "blk.{bid}.ffn_gate_exps.weight",
     {hidden, feed_forward, n_experts},
     {},
     always,
     n_experts},
    kFusedExpertGates,
    {MIXTRAL_EXPERT("w3"),
     "blk.{bid}.ffn_up_exps.weight",
     {hidden, feed_forward, n_experts},
     {},
     always,
     n_experts},
    kFusedExpertUps,
    {MIXTRAL_EXPERT("w2"),
     "blk.{bid}.ffn_down_exps.weight",
     {feed_forward, hidden, n_experts},
     {},
     always,
     n_experts},
    kFusedExpertDowns,
    kOutputNorm,
    kOutput,
};
#undef MIXTRAL_EXPERT
static constexpr std::string_view kMixtralClasses[] = {"MixtralForCausalLM"};
static constexpr std::string_view kMixtralTypes[] = {"mixtral"};
extern const Family kMixtral{.name = "Mixtral",
                             .classes = kMixtralClasses,
                             .model_types = kMixtralTypes,
                             .architecture = "llama",
                             .tensors = kMixtralTensors,
                             .numbers = kNumbers,
                             .activations = kSilu,
                             .more_keys = window_key};

/// Ministral 3: YaRN with a magnitude of its own, and queries that grow with the logarithm of their position.
static void ministral_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    window_key(model, config, keys);
    if (model.rope.magnitude_all)
        keys.set_float("rope.scaling.yarn_log_multiplier", *model.rope.magnitude_all);
    const Json* rope = config.get_object("rope_parameters");
    if (const auto beta = rope ? rope->get_number("llama_4_scaling_beta") : std::nullopt)
        keys.set_float("attention.temperature_scale", *beta);
}
static constexpr std::string_view kMistral3Classes[] = {"Ministral3ForCausalLM"};
static constexpr std::string_view kMistral3Types[] = {"ministral3"};
extern const Family kMistral3{.name = "Ministral 3",
                              .classes = kMistral3Classes,
                              .model_types = kMistral3Types,
                              .architecture = "mistral3",
                              .tensors = kTensors,
                              .numbers = kNumbers,
                              .activations = kSilu,
                              .more_keys = ministral_keys};

}  // namespace ingot::converters

// Qwen2 and Qwen2.5: biases on Q, K and V, always. Qwen3: norms of each head's queries and keys instead. The
// same with experts. GGUF's "qwen" architectures pair rotary elements as Hugging Face does, so that no row
// moves.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

static constexpr TensorRule kTensors[] = {
    kEmbedding, kAttentionNorm,     query(),          query_bias(always), key(), key_bias(always),
    kValue,     value_bias(always), kAttentionOutput, kFeedForwardNorm,   kGate, kUp,
    kDown,      kOutputNorm,        kOutput,
};
static constexpr std::string_view kQwen2Classes[] = {"Qwen2ForCausalLM"};
static constexpr std::string_view kQwen2Types[] = {"qwen2"};
extern const Family kQwen2{.name = "Qwen2",
                           .classes = kQwen2Classes,
                           .model_types = kQwen2Types,
                           .architecture = "qwen2",
                           .tensors = kTensors,
                           .numbers = kNumbers,
                           .activations = kSilu};

static constexpr TensorRule kQwen3Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(with_attention_bias),
    query_norm(head_dim),
    key(),
    key_bias(with_attention_bias),
    key_norm(head_dim),
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    kFeedForwardNorm,
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutput,
};
static constexpr std::string_view kQwen3Classes[] = {"Qwen3ForCausalLM"};
static constexpr std::string_view kQwen3Types[] = {"qwen3"};
extern const Family kQwen3{.name = "Qwen3",
                           .classes = kQwen3Classes,
                           .model_types = kQwen3Types,
                           .architecture = "qwen3",
                           .tensors = kQwen3Tensors,
                           .numbers = kNumbers,
                           .activations = kSilu};

/// Readers of these architectures want experts in every layer.
static void all_layers_have_experts(const Json& config, ModelConfig& model) {
    const Json* dense = config.find("mlp_only_layers");
    if (config.get_uint("decoder_sparse_step").value_or(1) != 1 || (dense && !dense->elements().empty())) {
        fail(
            "{}: some layers have no experts (\"decoder_sparse_step\", \"mlp_only_layers\"); {} in GGUF has "
            "them in "
            "every layer",
            config.where(), model.family->name);
    }
}

static void expert_keys(const ModelConfig& model, const Json&, Hyperparameters& keys) {
    keys.set_uint("expert_feed_forward_length", model.experts.feed_forward);
    if (model.experts.shared_feed_forward > 0)
        keys.set_uint("expert_shared_feed_forward_length", model.experts.shared_feed_forward);
}

static constexpr TensorRule kQwen2MoeTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(always),
    key(),
    key_bias(always),
    kValue,
    value_bias(always),
    kAttentionOutput,
    kFeedForwardNorm,
    kRouter,
    kExpertGates,
    kFusedExpertGates,
    kExpertUps,
    kFusedExpertUps,
    kExpertDowns,
    kFusedExpertDowns,
    {"model.layers.{bid}.mlp.shared_expert_gate.weight",
     "blk.{bid}.ffn_gate_inp_shexp.weight",
     {hidden},
     {as_vector}},
    {"model.layers.{bid}.mlp.shared_expert.gate_proj.weight",
     "blk.{bid}.ffn_gate_shexp.weight",
     {hidden, shared_feed_forward}},
    {"model.layers.{bid}.mlp.shared_expert.up_proj.weight",
     "blk.{bid}.ffn_up_shexp.weight",
     {hidden, shared_feed_forward}},
    {"model.layers.{bid}.mlp.shared_expert.down_proj.weight",
     "blk.{bid}.ffn_down_shexp.weight",
     {shared_feed_forward, hidden}},
    kOutputNorm,
    kOutput,
    kTiedOutput,
};
static void refine_qwen2_moe(const Json& config, ModelConfig& model) {
    all_layers_have_experts(config, model);
    if (config.get_bool("norm_topk_prob").value_or(false))
        fail("{}: \"norm_topk_prob\" is true, but a Qwen2-MoE model in GGUF never normalizes",
             config.where());
}
static constexpr std::string_view kQwen2MoeClasses[] = {"Qwen2MoeForCausalLM"};
static constexpr std::string_view kQwen2MoeTypes[] = {"qwen2_moe"};
extern const Family kQwen2Moe{.name = "Qwen2-MoE",
                              .classes = kQwen2MoeClasses,
                              .model_types = kQwen2MoeTypes,
                              .architecture = "qwen2moe",
                              .tensors = kQwen2MoeTensors,
                              .numbers = kNumbers,
                              .activations = kSilu,
                              .refine = refine_qwen2_moe,
                              .more_keys = expert_keys};

static constexpr TensorRule kQwen3MoeTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(with_attention_bias),
    query_norm(head_dim),
    key(),
    key_bias(with_attention_bias),
    key_norm(head_dim),
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    kFeedForwardNorm,
    kRouter,
    kExpertGates,
    kFusedExpertGates,
    kExpertUps,
    kFusedExpertUps,
    kExpertDowns,
    kFusedExpertDowns,
    kOutputNorm,
    kOutput,
};
static void refine_qwen3_moe(const Json& config, ModelConfig& model) {
    all_layers_have_experts(config, model);
    if (!config.get_bool("norm_topk_prob").value_or(false))
        fail("{}: \"norm_topk_prob\" is false, but a Qwen3-MoE model in GGUF always normalizes",
             config.where());
}
static constexpr std::string_view kQwen3MoeClasses[] = {"Qwen3MoeForCausalLM"};
static constexpr std::string_view kQwen3MoeTypes[] = {"qwen3_moe"};
extern const Family kQwen3Moe{.name = "Qwen3-MoE",
                              .classes = kQwen3MoeClasses,
                              .model_types = kQwen3MoeTypes,
                              .architecture = "qwen3moe",
                              .tensors = kQwen3MoeTensors,
                              .numbers = kNumbers,
                              .activations = kSilu,
                              .refine = refine_qwen3_moe,
                              .more_keys = expert_keys};

}  // namespace ingot::converters

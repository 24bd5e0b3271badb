// Decoders that differ from Llama in where their norms stand and what kind they are: StableLM, StarCoder2,
// OLMo-2, Cohere's Command-R, GLM-4.
#include <algorithm>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

// StableLM: LayerNorms, a part of each head rotated; the 12B has norms of each head's queries and keys and
// runs attention and feed-forward side by side.
static constexpr TensorRule kStableLmTensors[] = {
    kEmbedding,
    kAttentionNorm,
    kAttentionNormBias,
    query(),
    query_bias(optional),
    {"model.layers.{bid}.self_attn.q_layernorm.norms.{xid}.weight",
     "blk.{bid}.attn_q_norm.weight",
     {head_dim, n_heads},
     {},
     optional,
     n_heads},
    key(),
    key_bias(optional),
    {"model.layers.{bid}.self_attn.k_layernorm.norms.{xid}.weight",
     "blk.{bid}.attn_k_norm.weight",
     {head_dim, n_kv_heads},
     {},
     optional,
     n_kv_heads},
    kValue,
    value_bias(optional),
    kAttentionOutput,
    {"model.layers.{bid}.post_attention_layernorm.weight",
     "blk.{bid}.ffn_norm.weight",
     {hidden},
     {},
     optional},
    {"model.layers.{bid}.post_attention_layernorm.bias", "blk.{bid}.ffn_norm.bias", {hidden}, {}, optional},
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutputNormBias,
    kOutput,
    kTiedOutput,
};
static constexpr NumberRule kStableLmNumbers[] = {
    kContext, kLayerNormEpsilon, {"use_parallel_residual", "use_parallel_residual", NumberKind::Bool, 0}};
static constexpr std::string_view kStableLmClasses[] = {"StableLmForCausalLM", "StableLMEpochForCausalLM"};
static constexpr std::string_view kStableLmTypes[] = {"stablelm"};
extern const Family kStableLm{.name = "StableLM",
                              .classes = kStableLmClasses,
                              .model_types = kStableLmTypes,
                              .architecture = "stablelm",
                              .tensors = kStableLmTensors,
                              .numbers = kStableLmNumbers,
                              .activations = kSilu,
                              .rotary_part = 0.25};

// StarCoder2: LayerNorms, biases everywhere, GELU without a gate.
static constexpr std::string_view kGelu[] = {"gelu_pytorch_tanh", "gelu_new", "gelu"};
static constexpr TensorRule kStarCoder2Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    kAttentionNormBias,
    query(),
    query_bias(always),
    key(),
    key_bias(always),
    kValue,
    value_bias(always),
    kAttentionOutput,
    attention_output_bias(always),
    kFeedForwardNorm,
    kFeedForwardNormBias,
    {"model.layers.{bid}.mlp.c_fc.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {"model.layers.{bid}.mlp.c_fc.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {"model.layers.{bid}.mlp.c_proj.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {"model.layers.{bid}.mlp.c_proj.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    kOutputNorm,
    kOutputNormBias,
    kOutput,
};
static constexpr NumberRule kStarCoder2Numbers[] = {
    kContext,
    kLayerNormEpsilon,
    {"sliding_window", "attention.sliding_window", NumberKind::Uint32, {}, true}};
static constexpr std::string_view kStarCoder2Classes[] = {"Starcoder2ForCausalLM"};
static constexpr std::string_view kStarCoder2Types[] = {"starcoder2"};
extern const Family kStarCoder2{.name = "StarCoder2",
                                .classes = kStarCoder2Classes,
                                .model_types = kStarCoder2Types,
                                .architecture = "starcoder2",
                                .tensors = kStarCoder2Tensors,
                                .numbers = kStarCoder2Numbers,
                                .activations = kGelu,
                                .feed_forward_factor = 4,
                                .tied_by_default = true};

// OLMo-2: norms behind both parts of a layer instead of before, and of all queries and all keys together.
// OLMo-3 adds a window in three layers of four.
static constexpr TensorRule kOlmo2Tensors[] = {
    kEmbedding,
    query(),
    query_norm(query_width),
    key(),
    key_norm(kv_width),
    kValue,
    kAttentionOutput,
    {"model.layers.{bid}.post_attention_layernorm.weight", "blk.{bid}.post_attention_norm.weight", {hidden}},
    kGate,
    kUp,
    kDown,
    {"model.layers.{bid}.post_feedforward_layernorm.weight", "blk.{bid}.post_ffw_norm.weight", {hidden}},
    kOutputNorm,
    kOutput,
    kTiedOutput,
};
static constexpr NumberRule kOlmo2Numbers[] = {kContext, kEpsilon};
static void olmo_keys(const ModelConfig& model, const Json&, Hyperparameters& keys) {
    if (std::ranges::none_of(model.layers, &LayerConfig::sliding)) return;
    keys.set_uint("attention.sliding_window", model.window);
    std::vector<bool> pattern;
    for (const LayerConfig& layer : model.layers) pattern.push_back(layer.sliding);
    keys.set_bools("attention.sliding_window_pattern", pattern);
}
static constexpr std::string_view kOlmo2Classes[] = {"Olmo2ForCausalLM", "Olmo3ForCausalLM"};
static constexpr std::string_view kOlmo2Types[] = {"olmo2", "olmo3"};
extern const Family kOlmo2{.name = "OLMo-2",
                           .classes = kOlmo2Classes,
                           .model_types = kOlmo2Types,
                           .architecture = "olmo2",
                           .tensors = kOlmo2Tensors,
                           .numbers = kOlmo2Numbers,
                           .activations = kSilu,
                           .more_keys = olmo_keys};

// Command-R: one LayerNorm without bias before attention and feed-forward side by side, scaled logits. It
// rotates neighbours itself, so that no row moves. R+ has norms of each head's queries and keys; Command-R7B
// (Cohere 2) a window in three layers of four and no rotation in the fourth.
static constexpr TensorRule kCohereTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(with_attention_bias),
    {"model.layers.{bid}.self_attn.q_norm.weight",
     "blk.{bid}.attn_q_norm.weight",
     {head_dim, n_heads},
     {},
     optional},
    key(),
    key_bias(with_attention_bias),
    {"model.layers.{bid}.self_attn.k_norm.weight",
     "blk.{bid}.attn_k_norm.weight",
     {head_dim, n_kv_heads},
     {},
     optional},
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutput,
};
static constexpr NumberRule kCohereNumbers[] = {
    {"model_max_length|max_position_embeddings", "context_length", NumberKind::Uint32},
    kLayerNormEpsilon,
    {"logit_scale", "logit_scale", NumberKind::Float32, 0.0625}};
static constexpr std::string_view kCohereClasses[] = {"CohereForCausalLM"};
static constexpr std::string_view kCohereTypes[] = {"cohere"};
extern const Family kCohere{.name = "Command-R",
                            .classes = kCohereClasses,
                            .model_types = kCohereTypes,
                            .architecture = "command-r",
                            .tensors = kCohereTensors,
                            .numbers = kCohereNumbers,
                            .activations = kSilu,
                            .tied_by_default = true,
                            .more_keys = [](const ModelConfig&, const Json&, Hyperparameters& keys) {
                                keys.set_text("rope.scaling.type", "none");
                            }};

static void refine_cohere2(const Json& config, ModelConfig& model) {
    if (config.find("layer_types")) return;
    const uint64_t period = config.get_uint("sliding_window_pattern").value_or(4);
    for (uint64_t i = 0; i < model.n_layers && period > 0; ++i)
        model.layers[i].sliding = (i + 1) % period != 0;
}
static void cohere2_keys(const ModelConfig& model, const Json&, Hyperparameters& keys) {
    keys.set_text("rope.scaling.type", "none");
    keys.set_uint("attention.sliding_window", model.window);
    std::vector<bool> pattern;
    for (const LayerConfig& layer : model.layers) pattern.push_back(layer.sliding);
    keys.set_bools("attention.sliding_window_pattern", pattern);
}
static constexpr std::string_view kCohere2Classes[] = {"Cohere2ForCausalLM"};
static constexpr std::string_view kCohere2Types[] = {"cohere2"};
extern const Family kCohere2{.name = "Command-R7B",
                             .classes = kCohere2Classes,
                             .model_types = kCohere2Types,
                             .architecture = "cohere2",
                             .tensors = kCohereTensors,
                             .numbers = kCohereNumbers,
                             .activations = kSilu,
                             .tied_by_default = true,
                             .refine = refine_cohere2,
                             .more_keys = cohere2_keys};

// GLM-4: norms before and behind both parts of a layer, a fused gate, neighbours rotated in half of each
// head.
static constexpr TensorRule kGlm4Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(with_attention_bias),
    key(),
    key_bias(with_attention_bias),
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    {"model.layers.{bid}.post_self_attn_layernorm.weight", "blk.{bid}.post_attention_norm.weight", {hidden}},
    kFeedForwardNorm,
    {"model.layers.{bid}.mlp.gate_up_proj.weight", "blk.{bid}.ffn_up.weight", {hidden, twice_feed_forward}},
    kDown,
    {"model.layers.{bid}.post_mlp_layernorm.weight", "blk.{bid}.post_ffw_norm.weight", {hidden}},
    kOutputNorm,
    kOutput,
};
static constexpr NumberRule kGlm4Numbers[] = {kContext, kEpsilon};
static constexpr std::string_view kGlm4Classes[] = {"Glm4ForCausalLM"};
static constexpr std::string_view kGlm4Types[] = {"glm4"};
extern const Family kGlm4{.name = "GLM-4",
                          .classes = kGlm4Classes,
                          .model_types = kGlm4Types,
                          .architecture = "glm4",
                          .tensors = kGlm4Tensors,
                          .numbers = kGlm4Numbers,
                          .activations = kSilu,
                          .rotary_part = 0.5};

}  // namespace ingot::converters

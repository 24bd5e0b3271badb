// Gemma 4: as Gemma 3, but norms are stored as they are; wider heads and fewer KV heads in layers without a
// window, where keys may be the values too; the last layers may use the keys and values of earlier ones; each
// layer may get its own embedding of the token; experts may stand beside the dense feed-forward part.
#include <algorithm>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

namespace {

uint64_t per_layer_input(const ModelConfig& model, uint64_t) {
    return model.per_layer_input;
}
uint64_t all_layers_input(const ModelConfig& model, uint64_t) {
    return model.per_layer_input * model.n_layers;
}
bool with_layer_input(const ModelConfig& model, uint64_t) {
    return model.per_layer_input > 0;
}
bool own_kv(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).own_kv;
}

}  // namespace

#define LAYER "model.layers.{bid}."
#define NORM(SOURCE, TARGET)                                     \
    {                                                            \
        LAYER SOURCE ".weight", "blk.{bid}." TARGET ".weight", { \
            hidden                                               \
        }                                                        \
    }
static constexpr TensorRule kTensors[] = {
    kEmbedding,
    {"model.embed_tokens_per_layer.weight",
     "per_layer_token_embd.weight",
     {all_layers_input, vocabulary},
     {},
     with_layer_input},
    {"model.per_layer_model_projection.weight",
     "per_layer_model_proj.weight",
     {hidden, all_layers_input},
     {},
     with_layer_input},
    {"model.per_layer_projection_norm.weight",
     "per_layer_proj_norm.weight",
     {per_layer_input},
     {},
     with_layer_input},
    kAttentionNorm,
    query(),
    query_norm(head_dim),
    {LAYER "self_attn.k_proj.weight", "blk.{bid}.attn_k.weight", {hidden, kv_width}, {}, own_kv},
    {LAYER "self_attn.k_norm.weight", "blk.{bid}.attn_k_norm.weight", {head_dim}, {}, own_kv},
    {LAYER "self_attn.v_proj.weight", "blk.{bid}.attn_v.weight", {hidden, kv_width}, {}, optional},
    kAttentionOutput,
    NORM("post_attention_layernorm", "post_attention_norm"),
    NORM("pre_feedforward_layernorm", "ffn_norm"),
    kGate,
    kUp,
    kDown,
    NORM("post_feedforward_layernorm", "post_ffw_norm"),
    {LAYER "router.proj.weight", "blk.{bid}.ffn_gate_inp.weight", {hidden, n_experts}, {}, in_expert_layers},
    {LAYER "router.scale", "blk.{bid}.ffn_gate_inp.scale", {hidden}, {}, in_expert_layers},
    {LAYER "router.per_expert_scale", "blk.{bid}.ffn_down_exps.scale", {n_experts}, {}, in_expert_layers},
    {LAYER "pre_feedforward_layernorm_2.weight",
     "blk.{bid}.pre_ffw_norm_2.weight",
     {hidden},
     {},
     in_expert_layers},
    {LAYER "post_feedforward_layernorm_1.weight",
     "blk.{bid}.post_ffw_norm_1.weight",
     {hidden},
     {},
     in_expert_layers},
    {LAYER "post_feedforward_layernorm_2.weight",
     "blk.{bid}.post_ffw_norm_2.weight",
     {hidden},
     {},
     in_expert_layers},
    {LAYER "experts.gate_up_proj",
     "blk.{bid}.ffn_gate_up_exps.weight",
     {hidden, twice_expert_feed_forward, n_experts},
     {},
     in_expert_layers},
    {LAYER "experts.down_proj",
     "blk.{bid}.ffn_down_exps.weight",
     {expert_feed_forward, hidden, n_experts},
     {},
     in_expert_layers},
    {LAYER "per_layer_input_gate.weight",
     "blk.{bid}.inp_gate.weight",
     {hidden, per_layer_input},
     {},
     with_layer_input},
    {LAYER "per_layer_projection.weight",
     "blk.{bid}.proj.weight",
     {per_layer_input, hidden},
     {},
     with_layer_input},
    {LAYER "post_per_layer_input_norm.weight", "blk.{bid}.post_norm.weight", {hidden}, {}, with_layer_input},
    {LAYER "layer_scalar", "blk.{bid}.layer_output_scale.weight", {one}, {}, optional},
    kOutputNorm,
    kOutput,
};
#undef NORM
#undef LAYER

/// A number of layers without a window: in one key, or under the layer in "per_layer_config".
static uint64_t of_full_layers(const Json& config, const ModelConfig& model, const char* key,
                               const char* layer_key, uint64_t fallback) {
    if (const auto value = config.get_uint(key)) return *value;
    const Json* by_layer = config.get_object("per_layer_config");
    for (uint64_t i = 0; by_layer && i < model.n_layers; ++i) {
        const Json* layer = model.layers[i].sliding ? nullptr : by_layer->get_object(std::to_string(i));
        if (const auto value = layer ? layer->get_uint(layer_key) : std::nullopt) return *value;
    }
    return fallback;
}

static void refine(const Json& config, ModelConfig& model) {
    model.rope_theta = 1e6;
    if (!config.find("layer_types")) {
        for (uint64_t i = 0; i < model.n_layers; ++i) model.layers[i].sliding = (i + 1) % 6 != 0;
    }
    const uint64_t full_dim = of_full_layers(config, model, "global_head_dim", "head_dim", model.head_dim);
    const uint64_t full_kv =
        of_full_layers(config, model, "num_global_key_value_heads", "num_key_value_heads", model.n_kv_heads);
    const uint64_t n_shared = config.get_uint("num_kv_shared_layers").value_or(0);
    constexpr uint64_t kMost = 1 << 20;  // of elements, heads: products stay far within 64 bits
    if (full_dim == 0 || full_dim > kMost || full_kv == 0 || full_kv > kMost || n_shared > model.n_layers)
        fail("{}: layers without a window have heads of {} elements, {} KV heads; {} layers share theirs",
             config.where(), full_dim, full_kv, n_shared);
    const bool wide = config.get_bool("use_double_wide_mlp").value_or(false);
    const bool experts = config.get_bool("enable_moe_block").value_or(false);
    if (!experts) model.experts = {};
    for (uint64_t i = 0; i < model.n_layers; ++i) {
        LayerConfig& layer = model.layers[i];
        layer.experts = experts;
        layer.own_kv = i + n_shared < model.n_layers;
        if (!layer.sliding) layer.head_dim = full_dim, layer.n_kv_heads = full_kv;
        if (wide && !layer.own_kv) layer.feed_forward *= 2;
    }
    model.rotary_dim = full_dim;
    model.head_dim_given = false;
    model.per_layer_input = config.get_uint("hidden_size_per_layer_input").value_or(0);
    if (model.per_layer_input > kMost)
        fail("{}: \"hidden_size_per_layer_input\" is {}", config.where(), model.per_layer_input);
}

static void more_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    keys.set_uint("attention.key_length", model.rotary_dim);
    keys.set_uint("attention.value_length", model.rotary_dim);
    keys.set_uint("attention.key_length_swa", model.head_dim);
    keys.set_uint("attention.value_length_swa", model.head_dim);
    keys.set_uint("rope.dimension_count_swa", model.head_dim);
    keys.set_uint("attention.shared_kv_layers", config.get_uint("num_kv_shared_layers").value_or(0));
    keys.set_uint("embedding_length_per_layer_input", model.per_layer_input);
    std::vector<bool> pattern;
    for (const LayerConfig& layer : model.layers) pattern.push_back(layer.sliding);
    keys.set_bools("attention.sliding_window_pattern", pattern);
    if (model.experts.n > 0) keys.set_uint("expert_feed_forward_length", model.experts.feed_forward);
}

static constexpr std::string_view kGelu[] = {"gelu_pytorch_tanh", "gelu_new"};
static constexpr NumberRule kNumbers[] = {
    {"max_position_embeddings", "context_length", NumberKind::Uint32, 131072},
    kEpsilon,
    {"final_logit_softcapping", "final_logit_softcapping", NumberKind::Float32, {}, true},
    {"sliding_window", "attention.sliding_window", NumberKind::Uint32, 512},
};
static constexpr std::string_view kClasses[] = {"Gemma4ForCausalLM", "Gemma4ForConditionalGeneration"};
static constexpr std::string_view kTypes[] = {"gemma4_text"};
extern const Family kGemma4{.name = "Gemma 4",
                            .classes = kClasses,
                            .model_types = kTypes,
                            .architecture = "gemma4",
                            .tensors = kTensors,
                            .numbers = kNumbers,
                            .activations = kGelu,
                            .tied_by_default = true,
                            .refine = refine,
                            .more_keys = more_keys};

}  // namespace ingot::converters

// GPT-OSS: a learned score for attending to nothing (sinks), a window in every second layer, biases
// everywhere; experts store matrices (in, out), gate and up by turns.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

#define LAYER "model.layers.{bid}."
#define EXPERTS "model.layers.{bid}.mlp.experts."
static constexpr TensorRule kGptOssTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(always),
    key(),
    key_bias(always),
    kValue,
    value_bias(always),
    kAttentionOutput,
    attention_output_bias(always),
    {LAYER "self_attn.sinks", "blk.{bid}.attn_sinks.weight", {n_heads}},
    {LAYER "post_attention_layernorm.weight", "blk.{bid}.post_attention_norm.weight", {hidden}},
    {LAYER "mlp.router.weight", "blk.{bid}.ffn_gate_inp.weight", {hidden, n_experts}},
    {LAYER "mlp.router.bias", "blk.{bid}.ffn_gate_inp.bias", {n_experts}},
    {EXPERTS "gate_up_proj",
     "blk.{bid}.ffn_gate_exps.weight",
     {hidden, expert_feed_forward, n_experts},
     {transposed, even_rows}},
    {EXPERTS "gate_up_proj_bias",
     "blk.{bid}.ffn_gate_exps.bias",
     {expert_feed_forward, n_experts},
     {even_columns}},
    {EXPERTS "gate_up_proj",
     "blk.{bid}.ffn_up_exps.weight",
     {hidden, expert_feed_forward, n_experts},
     {transposed, odd_rows}},
    {EXPERTS "gate_up_proj_bias",
     "blk.{bid}.ffn_up_exps.bias",
     {expert_feed_forward, n_experts},
     {odd_columns}},
    {EXPERTS "down_proj",
     "blk.{bid}.ffn_down_exps.weight",
     {expert_feed_forward, hidden, n_experts},
     {transposed}},
    {EXPERTS "down_proj_bias", "blk.{bid}.ffn_down_exps.bias", {hidden, n_experts}},
    kOutputNorm,
    kOutput,
    kTiedOutput,
};
static void refine_gpt_oss(const Json& config, ModelConfig& model) {
    model.rope_theta = 150000;
    if (config.find("layer_types")) return;
    for (uint64_t i = 0; i < model.n_layers; ++i) model.layers[i].sliding = i % 2 == 0;
}
static void gpt_oss_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    keys.set_uint("attention.sliding_window", model.window);
    keys.set_uint("expert_feed_forward_length", model.experts.feed_forward);
    std::vector<bool> pattern;
    bool usual = true;
    for (uint64_t i = 0; i < model.n_layers; ++i) {
        pattern.push_back(model.layers[i].sliding);
        usual &= pattern.back() == (i % 2 == 0);
    }
    if (!usual) keys.set_bools("attention.sliding_window_pattern", pattern);
    // YaRN's ramp between whole numbers of turns, or between the exact ones. Other readers round.
    const Json* rope = config.get_object("rope_parameters");
    if (!rope) rope = config.get_object("rope_scaling");
    if (rope && rope->get_bool("truncate") == false) keys.set_bool("rope.scaling.yarn_truncate", false);
}
static constexpr std::string_view kGptOssClasses[] = {"GptOssForCausalLM"};
static constexpr std::string_view kGptOssTypes[] = {"gpt_oss"};
extern const Family kGptOss{.name = "GPT-OSS",
                            .classes = kGptOssClasses,
                            .model_types = kGptOssTypes,
                            .architecture = "gpt-oss",
                            .tensors = kGptOssTensors,
                            .numbers = kNumbers,
                            .activations = kSilu,
                            .refine = refine_gpt_oss,
                            .more_keys = gpt_oss_keys};
#undef EXPERTS
#undef LAYER

}  // namespace ingot::converters

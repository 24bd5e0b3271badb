// Llama 4: experts in every layer or every second, with one that every token goes through; three layers of
// four attend within a chunk and rotate (neighbours), the fourth does neither.
#include <algorithm>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

#define LAYER "model.layers.{bid}."
static constexpr TensorRule kLlama4Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    key(),
    kValue,
    kAttentionOutput,
    kFeedForwardNorm,
    {LAYER "feed_forward.gate_proj.weight",
     "blk.{bid}.ffn_gate.weight",
     {hidden, feed_forward},
     {},
     in_dense_layers},
    {LAYER "feed_forward.up_proj.weight",
     "blk.{bid}.ffn_up.weight",
     {hidden, feed_forward},
     {},
     in_dense_layers},
    {LAYER "feed_forward.down_proj.weight",
     "blk.{bid}.ffn_down.weight",
     {feed_forward, hidden},
     {},
     in_dense_layers},
    {LAYER "feed_forward.router.weight",
     "blk.{bid}.ffn_gate_inp.weight",
     {hidden, n_experts},
     {},
     in_expert_layers},
    {LAYER "feed_forward.experts.gate_up_proj",
     "blk.{bid}.ffn_gate_exps.weight",
     {hidden, expert_feed_forward, n_experts},
     {transposed, first_half},
     in_expert_layers},
    {LAYER "feed_forward.experts.gate_up_proj",
     "blk.{bid}.ffn_up_exps.weight",
     {hidden, expert_feed_forward, n_experts},
     {transposed, second_half},
     in_expert_layers},
    {LAYER "feed_forward.experts.down_proj",
     "blk.{bid}.ffn_down_exps.weight",
     {expert_feed_forward, hidden, n_experts},
     {transposed},
     in_expert_layers},
    {LAYER "feed_forward.shared_expert.gate_proj.weight",
     "blk.{bid}.ffn_gate_shexp.weight",
     {hidden, expert_feed_forward},
     {},
     in_expert_layers},
    {LAYER "feed_forward.shared_expert.up_proj.weight",
     "blk.{bid}.ffn_up_shexp.weight",
     {hidden, expert_feed_forward},
     {},
     in_expert_layers},
    {LAYER "feed_forward.shared_expert.down_proj.weight",
     "blk.{bid}.ffn_down_shexp.weight",
     {expert_feed_forward, hidden},
     {},
     in_expert_layers},
    kOutputNorm,
    kOutput,
};
#undef LAYER
/// The numbers that other readers have built in.
constexpr uint64_t kLlama4Chunk = 8192;
static void refine_llama4(const Json& config, ModelConfig& model) {
    model.experts.feed_forward = model.feed_forward;
    model.feed_forward = require_dimension(config, "intermediate_size_mlp|intermediate_size");
    const uint64_t step = config.get_uint("interleave_moe_layer_step").value_or(1);
    for (uint64_t i = 0; i < model.n_layers; ++i) {
        model.layers[i].feed_forward = model.feed_forward;
        model.layers[i].experts = step > 0 && (i + 1) % step == 0;
        if (!config.find("layer_types")) model.layers[i].sliding = (i + 1) % 4 != 0;
    }
    model.window = config.get_uint("attention_chunk_size").value_or(0);
    const bool chunked = std::ranges::any_of(model.layers, &LayerConfig::sliding);
    if (chunked && (model.window != kLlama4Chunk || config.get_uint("floor_scale").value_or(8192) != 8192)) {
        model.warnings.push_back(fmt::format(
            "{}: attention in chunks of {} tokens, tempered every {}; llama.cpp knows only 8192 of both, and "
            "will give "
            "other text beyond the first {} tokens",
            config.where(), model.window, config.get_uint("floor_scale").value_or(8192), model.window));
    }
}
static void llama4_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    keys.set_uint("interleave_moe_layer_step", config.get_uint("interleave_moe_layer_step").value_or(1));
    keys.set_uint("expert_feed_forward_length", model.experts.feed_forward);
    const bool chunked = std::ranges::any_of(model.layers, &LayerConfig::sliding);
    keys.set_uint("attention.sliding_window", chunked ? model.window : 0);
    if (!chunked) return;
    keys.set_uint("attention.temperature_length", config.get_uint("floor_scale").value_or(8192));
    const bool tempered = config.get_bool("attn_temperature_tuning").value_or(true);
    keys.set_float("attention.temperature_scale",
                   tempered ? config.get_number("attn_scale").value_or(0.1) : 0);
}
static constexpr std::string_view kLlama4Classes[] = {"Llama4ForCausalLM", "Llama4ForConditionalGeneration"};
static constexpr std::string_view kLlama4Types[] = {"llama4_text"};
extern const Family kLlama4{.name = "Llama 4",
                            .classes = kLlama4Classes,
                            .model_types = kLlama4Types,
                            .architecture = "llama4",
                            .tensors = kLlama4Tensors,
                            .numbers = kNumbers,
                            .activations = kSilu,
                            .refine = refine_llama4,
                            .more_keys = llama4_keys};

}  // namespace ingot::converters

// Qwen3-Next and Qwen3.5: three layers of four are a gated delta net, a linear attention with a state; the
// fourth has attention with a gate beside each query. Norms store their difference from one, but the delta
// net's own.
#include <cmath>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

namespace {

uint64_t qkv_of_delta(const ModelConfig& model, uint64_t) {
    return 2 * model.delta_net.key_width() + model.delta_net.value_width();
}
uint64_t values_of_delta(const ModelConfig& model, uint64_t) {
    return model.delta_net.value_width();
}
uint64_t value_heads(const ModelConfig& model, uint64_t) {
    return model.delta_net.value_heads;
}
uint64_t twice_value_heads(const ModelConfig& model, uint64_t) {
    return 2 * model.delta_net.value_heads;
}
uint64_t value_head_dim(const ModelConfig& model, uint64_t) {
    return model.delta_net.value_dim;
}
uint64_t kernel(const ModelConfig& model, uint64_t) {
    return model.delta_net.kernel;
}

/// The decay as it is used: −exp(A_log).
RowsPtr minus_exp(RowsPtr rows, const ModelConfig&, uint64_t) {
    return map_values(std::move(rows), [](std::span<float> values) {
        for (float& value : values) value = -std::exp(value);
    });
}
/// (channels, 1, kernel) without the one.
RowsPtr channels(RowsPtr rows, const ModelConfig& model, uint64_t) {
    const uint64_t taps = model.delta_net.kernel, n = rows->n_elements() / taps;
    return reshape(std::move(rows), {taps, n});
}

// Qwen3-Next goes key head by key head: its queries, keys, the values and the gates of its value heads.
RowsPtr from_groups(RowsPtr rows, const ModelConfig& model, bool gates) {
    const DeltaNet d = model.delta_net;
    const uint64_t ratio = d.value_heads / d.key_heads;
    const uint64_t group_rows = 2 * d.key_dim + 2 * ratio * d.value_dim, group_values = ratio * d.value_dim;
    expect_rows(*rows, d.key_heads * group_rows);
    if (gates) {
        return select_rows(std::move(rows), d.value_width(), [=](uint64_t row) {
            return row / group_values * group_rows + 2 * d.key_dim + group_values + row % group_values;
        });
    }
    return select_rows(std::move(rows), 2 * d.key_width() + d.value_width(), [=](uint64_t row) {
        if (row < 2 * d.key_width()) {
            const uint64_t part = row / d.key_width(), in_part = row % d.key_width();
            return in_part / d.key_dim * group_rows + part * d.key_dim + in_part % d.key_dim;
        }
        const uint64_t value = row - 2 * d.key_width();
        return value / group_values * group_rows + 2 * d.key_dim + value % group_values;
    });
}
RowsPtr qkv_from_groups(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return from_groups(std::move(rows), model, false);
}
RowsPtr gates_from_groups(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return from_groups(std::move(rows), model, true);
}

/// Qwen3.5's value heads stand by key head; GGUF's go round: the first value head of every key head, then the
/// second ones. `head_rows` rows a head, behind `skipped` rows that stay.
RowsPtr tile_heads(RowsPtr rows, const ModelConfig& model, uint64_t head_rows, uint64_t skipped) {
    const uint64_t n_keys = model.delta_net.key_heads, n_values = model.delta_net.value_heads;
    const uint64_t ratio = n_values / n_keys, n = skipped + n_values * head_rows;
    expect_rows(*rows, n);
    if (ratio == 1) return rows;
    return select_rows(std::move(rows), n, [=](uint64_t row) {
        if (row < skipped) return row;
        const uint64_t head = (row - skipped) / head_rows, in_head = (row - skipped) % head_rows;
        return skipped + (head % n_keys * ratio + head / n_keys) * head_rows + in_head;
    });
}
RowsPtr tile_single_rows(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return tile_heads(std::move(rows), model, 1, 0);
}
RowsPtr tile_values(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return tile_heads(std::move(rows), model, model.delta_net.value_dim, 0);
}
RowsPtr tile_values_behind_keys(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return tile_heads(std::move(rows), model, model.delta_net.value_dim, 2 * model.delta_net.key_width());
}
/// The same with columns: rows are cut into heads, and heads move.
RowsPtr tile_columns(RowsPtr rows, const ModelConfig& model, uint64_t) {
    const DeltaNet d = model.delta_net;
    const uint64_t ratio = d.value_heads / d.key_heads, n_rows = rows->n_rows();
    if (rows->row_elements() != d.value_width()) {
        fail("{} has rows of {} elements, but config.json implies {}", rows->name(), rows->row_elements(),
             d.value_width());
    }
    if (ratio == 1) return rows;
    RowsPtr heads = reshape(std::move(rows), {d.value_dim, d.value_heads * n_rows});
    heads = select_rows(std::move(heads), d.value_heads * n_rows, [=](uint64_t i) {
        const uint64_t head = i % d.value_heads;
        return i - head + head % d.key_heads * ratio + head / d.key_heads;
    });
    return reshape(std::move(heads), {d.value_width(), n_rows});
}

}  // namespace

#define LAYER "model.layers.{bid}."
#define DELTA "model.layers.{bid}.linear_attn."
static constexpr Condition kHere = in_recurrent_layers, kThere = in_attention_layers;

static constexpr TensorRule norm(std::string_view source, std::string_view target) {
    return {source, target, {hidden}, {plus_one}};
}
static constexpr TensorRule kNormBefore = norm(LAYER "input_layernorm.weight", "blk.{bid}.attn_norm.weight");
static constexpr TensorRule kNormBehind =
    norm(LAYER "post_attention_layernorm.weight", "blk.{bid}.post_attention_norm.weight");
static constexpr TensorRule kFinalNorm = norm("model.norm.weight", "output_norm.weight");

#define ATTENTION                                                                                          \
    {LAYER "self_attn.q_proj.weight", "blk.{bid}.attn_q.weight", {hidden, twice_query_width}, {}, kThere}, \
        {LAYER "self_attn.q_norm.weight", "blk.{bid}.attn_q_norm.weight", {head_dim}, {plus_one}, kThere}, \
        {LAYER "self_attn.k_proj.weight", "blk.{bid}.attn_k.weight", {hidden, kv_width}, {}, kThere},      \
        {LAYER "self_attn.k_norm.weight", "blk.{bid}.attn_k_norm.weight", {head_dim}, {plus_one}, kThere}, \
        {LAYER "self_attn.v_proj.weight", "blk.{bid}.attn_v.weight", {hidden, kv_width}, {}, kThere}, {    \
        LAYER "self_attn.o_proj.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}, {}, kThere \
    }

#define EXPERTS                                                                                             \
    kRouter, kExpertGates, kFusedExpertGates, kExpertUps, kFusedExpertUps, kExpertDowns, kFusedExpertDowns, \
        {LAYER "mlp.shared_expert_gate.weight",                                                             \
         "blk.{bid}.ffn_gate_inp_shexp.weight",                                                             \
         {hidden},                                                                                          \
         {as_vector}},                                                                                      \
        {LAYER "mlp.shared_expert.gate_proj.weight",                                                        \
         "blk.{bid}.ffn_gate_shexp.weight",                                                                 \
         {hidden, shared_feed_forward}},                                                                    \
        {LAYER "mlp.shared_expert.up_proj.weight",                                                          \
         "blk.{bid}.ffn_up_shexp.weight",                                                                   \
         {hidden, shared_feed_forward}},                                                                    \
    {                                                                                                       \
        LAYER "mlp.shared_expert.down_proj.weight", "blk.{bid}.ffn_down_shexp.weight", {                    \
            shared_feed_forward, hidden                                                                     \
        }                                                                                                   \
    }

#define QWEN35_DELTA                                                                                    \
    {DELTA "in_proj_qkv.weight",                                                                        \
     "blk.{bid}.attn_qkv.weight",                                                                       \
     {hidden, qkv_of_delta},                                                                            \
     {tile_values_behind_keys},                                                                         \
     kHere},                                                                                            \
        {DELTA "in_proj_z.weight",                                                                      \
         "blk.{bid}.attn_gate.weight",                                                                  \
         {hidden, values_of_delta},                                                                     \
         {tile_values},                                                                                 \
         kHere},                                                                                        \
        {DELTA "conv1d.weight",                                                                         \
         "blk.{bid}.ssm_conv1d.weight",                                                                 \
         {kernel, qkv_of_delta},                                                                        \
         {channels, tile_values_behind_keys},                                                           \
         kHere},                                                                                        \
        {DELTA "dt_bias", "blk.{bid}.ssm_dt.bias", {value_heads}, {tile_single_rows}, kHere},           \
        {DELTA "A_log", "blk.{bid}.ssm_a", {value_heads}, {minus_exp, tile_single_rows}, kHere},        \
        {DELTA "in_proj_b.weight",                                                                      \
         "blk.{bid}.ssm_beta.weight",                                                                   \
         {hidden, value_heads},                                                                         \
         {tile_single_rows},                                                                            \
         kHere},                                                                                        \
        {DELTA "in_proj_a.weight",                                                                      \
         "blk.{bid}.ssm_alpha.weight",                                                                  \
         {hidden, value_heads},                                                                         \
         {tile_single_rows},                                                                            \
         kHere},                                                                                        \
        {DELTA "norm.weight", "blk.{bid}.ssm_norm.weight", {value_head_dim}, {}, kHere}, {              \
        DELTA "out_proj.weight", "blk.{bid}.ssm_out.weight", {values_of_delta, hidden}, {tile_columns}, \
            kHere                                                                                       \
    }

static constexpr TensorRule kQwen3NextTensors[] = {
    kEmbedding,
    kNormBefore,
    ATTENTION,
    {DELTA "in_proj_qkvz.weight",
     "blk.{bid}.attn_qkv.weight",
     {hidden, qkv_of_delta},
     {qkv_from_groups},
     kHere},
    {DELTA "in_proj_qkvz.weight",
     "blk.{bid}.attn_gate.weight",
     {hidden, values_of_delta},
     {gates_from_groups},
     kHere},
    {DELTA "conv1d.weight", "blk.{bid}.ssm_conv1d.weight", {kernel, qkv_of_delta}, {channels}, kHere},
    {DELTA "dt_bias", "blk.{bid}.ssm_dt.bias", {value_heads}, {}, kHere},
    {DELTA "A_log", "blk.{bid}.ssm_a", {value_heads}, {minus_exp}, kHere},
    {DELTA "in_proj_ba.weight", "blk.{bid}.ssm_ba.weight", {hidden, twice_value_heads}, {}, kHere},
    {DELTA "norm.weight", "blk.{bid}.ssm_norm.weight", {value_head_dim}, {}, kHere},
    {DELTA "out_proj.weight", "blk.{bid}.ssm_out.weight", {values_of_delta, hidden}, {}, kHere},
    kNormBehind,
    EXPERTS,
    kFinalNorm,
    kOutput,
};
static constexpr TensorRule kQwen35Tensors[] = {
    kEmbedding, kNormBefore, ATTENTION, QWEN35_DELTA, kNormBehind, kGate, kUp, kDown, kFinalNorm, kOutput,
};
static constexpr TensorRule kQwen35MoeTensors[] = {
    kEmbedding, kNormBefore, ATTENTION, QWEN35_DELTA, kNormBehind, EXPERTS, kFinalNorm, kOutput,
};
#undef LAYER
#undef DELTA
#undef ATTENTION
#undef EXPERTS
#undef QWEN35_DELTA

static void refine(const Json& config, ModelConfig& model) {
    DeltaNet& d = model.delta_net;
    d = {.key_heads = require_dimension(config, "linear_num_key_heads"),
         .value_heads = require_dimension(config, "linear_num_value_heads"),
         .key_dim = require_dimension(config, "linear_key_head_dim"),
         .value_dim = require_dimension(config, "linear_value_head_dim"),
         .kernel = require_dimension(config, "linear_conv_kernel_dim")};
    if (d.value_heads % d.key_heads != 0 || d.key_dim != d.value_dim) {
        fail(
            "{}: {} value heads of {} over {} key heads of {}; GGUF wants the same size, and a whole number "
            "of value "
            "heads to each key head",
            config.where(), d.value_heads, d.value_dim, d.key_heads, d.key_dim);
    }
    if (config.find("layer_types")) return;
    const uint64_t interval = config.get_uint("full_attention_interval").value_or(4);
    for (uint64_t i = 0; i < model.n_layers && interval > 0; ++i)
        model.layers[i].recurrent = (i + 1) % interval != 0;
}

static void more_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    const DeltaNet& d = model.delta_net;
    keys.set_uint("ssm.conv_kernel", d.kernel);
    keys.set_uint("ssm.state_size", d.key_dim);
    keys.set_uint("ssm.group_count", d.key_heads);
    keys.set_uint("ssm.time_step_rank", d.value_heads);
    keys.set_uint("ssm.inner_size", d.value_width());
    std::vector<bool> recurrent;
    for (const LayerConfig& layer : model.layers) recurrent.push_back(layer.recurrent);
    keys.set_bools("attention.recurrent_layers", recurrent);
    keys.set_uint("full_attention_interval", config.get_uint("full_attention_interval").value_or(4));
    if (model.experts.n == 0) return;
    keys.set_uint("expert_feed_forward_length", model.experts.feed_forward);
    keys.set_uint("expert_shared_feed_forward_length", model.experts.shared_feed_forward);
}

/// Which rotated pairs turn with time, height and width of an image; for text all three are the position.
static void qwen35_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    more_keys(model, config, keys);
    std::vector<uint64_t> sections;
    const Json* rope = config.get_object("rope_parameters");
    const Json* given = rope ? rope->find("mrope_section") : nullptr;
    for (const Json& element : given ? given->elements() : std::span<const Json>())
        sections.push_back(element.whole_number().value_or(0));
    if (sections.empty()) sections = {11, 11, 10};
    sections.resize(4);
    keys.set_uints("rope.dimension_sections", sections);
}

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

static constexpr std::string_view kNextClasses[] = {"Qwen3NextForCausalLM"};
static constexpr std::string_view kNextTypes[] = {"qwen3_next"};
extern const Family kQwen3Next{.name = "Qwen3-Next",
                               .classes = kNextClasses,
                               .model_types = kNextTypes,
                               .architecture = "qwen3next",
                               .tensors = kQwen3NextTensors,
                               .numbers = kNumbers,
                               .activations = kSilu,
                               .rotary_part = 0.25,
                               .refine = refine,
                               .more_keys = more_keys};

static constexpr std::string_view k35Classes[] = {"Qwen3_5ForCausalLM", "Qwen3_5ForConditionalGeneration"};
static constexpr std::string_view k35Types[] = {"qwen3_5_text"};
extern const Family kQwen35{.name = "Qwen3.5",
                            .classes = k35Classes,
                            .model_types = k35Types,
                            .architecture = "qwen35",
                            .tensors = kQwen35Tensors,
                            .numbers = kNumbers,
                            .activations = kSilu,
                            .rotary_part = 0.25,
                            .refine = refine,
                            .more_keys = qwen35_keys};

static constexpr std::string_view k35MoeClasses[] = {"Qwen3_5MoeForCausalLM",
                                                     "Qwen3_5MoeForConditionalGeneration"};
static constexpr std::string_view k35MoeTypes[] = {"qwen3_5_moe_text"};
extern const Family kQwen35Moe{.name = "Qwen3.5-MoE",
                               .classes = k35MoeClasses,
                               .model_types = k35MoeTypes,
                               .architecture = "qwen35moe",
                               .tensors = kQwen35MoeTensors,
                               .numbers = kNumbers,
                               .activations = kSilu,
                               .rotary_part = 0.25,
                               .refine = refine,
                               .more_keys = qwen35_keys};

}  // namespace ingot::converters

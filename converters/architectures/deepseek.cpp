// DeepSeek-V2, V3 and Mistral 4: attention over a compressed cache (MLA), experts beside shared ones behind
// some dense layers. GGUF holds the projection from the compressed vector in two parts, one transposed, so
// that a reader can attend to the compressed vectors themselves, as to one wide KV head.
#include <array>
#include <utility>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

namespace {

uint64_t query_rank(const ModelConfig& model, uint64_t) {
    return model.latent.query_rank;
}
uint64_t kv_rank(const ModelConfig& model, uint64_t) {
    return model.latent.kv_rank;
}
uint64_t unrotated(const ModelConfig& model, uint64_t) {
    return model.latent.unrotated;
}
uint64_t value_dim(const ModelConfig& model, uint64_t) {
    return model.latent.value;
}
uint64_t compressed_width(const ModelConfig& model,
                          uint64_t) {  // and the key's rotated part, shared by all heads
    return model.latent.kv_rank + model.latent.rotated;
}
uint64_t all_queries(const ModelConfig& model, uint64_t) {
    return model.n_heads * (model.latent.unrotated + model.latent.rotated);
}
uint64_t all_values(const ModelConfig& model, uint64_t) {
    return model.n_heads * model.latent.value;
}
bool plain_queries(const ModelConfig& model, uint64_t) {
    return model.latent.query_rank == 0;
}
bool compressed_queries(const ModelConfig& model, uint64_t) {
    return model.latent.query_rank > 0;
}

/// Some rows of each head of kv_b_proj (heads · (unrotated + value), kv_rank), as (heads, n, kv_rank).
RowsPtr head_part(RowsPtr rows, const ModelConfig& model, uint64_t first, uint64_t n) {
    const uint64_t head_rows = model.latent.unrotated + model.latent.value;
    const uint64_t rank = rows->row_elements();
    expect_rows(*rows, model.n_heads * head_rows);
    RowsPtr part = select_rows(std::move(rows), model.n_heads * n,
                               [=](uint64_t row) { return row / n * head_rows + first + row % n; });
    return reshape(std::move(part), {rank, n, model.n_heads});
}
RowsPtr key_part(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return head_part(std::move(rows), model, 0, model.latent.unrotated);
}
RowsPtr value_part(RowsPtr rows, const ModelConfig& model, uint64_t) {
    return head_part(std::move(rows), model, model.latent.unrotated, model.latent.value);
}

}  // namespace

#define LAYER "model.layers.{bid}."
static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kAttentionNorm,
    {LAYER "self_attn.q_proj.weight", "blk.{bid}.attn_q.weight", {hidden, all_queries}, {}, plain_queries},
    {LAYER "self_attn.q_a_proj.weight",
     "blk.{bid}.attn_q_a.weight",
     {hidden, query_rank},
     {},
     compressed_queries},
    {LAYER "self_attn.q_a_layernorm.weight",
     "blk.{bid}.attn_q_a_norm.weight",
     {query_rank},
     {},
     compressed_queries},
    {LAYER "self_attn.q_b_proj.weight",
     "blk.{bid}.attn_q_b.weight",
     {query_rank, all_queries},
     {},
     compressed_queries},
    {LAYER "self_attn.kv_a_proj_with_mqa.weight",
     "blk.{bid}.attn_kv_a_mqa.weight",
     {hidden, compressed_width}},
    {LAYER "self_attn.kv_a_layernorm.weight", "blk.{bid}.attn_kv_a_norm.weight", {kv_rank}},
    {LAYER "self_attn.kv_b_proj.weight",
     "blk.{bid}.attn_k_b.weight",
     {unrotated, kv_rank, n_heads},
     {key_part, transposed}},
    {LAYER "self_attn.kv_b_proj.weight",
     "blk.{bid}.attn_v_b.weight",
     {kv_rank, value_dim, n_heads},
     {value_part}},
    {LAYER "self_attn.o_proj.weight", "blk.{bid}.attn_output.weight", {all_values, hidden}},
    kFeedForwardNorm,
    gate(in_dense_layers),
    up(in_dense_layers),
    down(in_dense_layers),
    kRouter,
    {LAYER "mlp.gate.e_score_correction_bias", "blk.{bid}.exp_probs_b.bias", {n_experts}, {}, optional},
    kExpertGates,
    kFusedExpertGates,
    kExpertUps,
    kFusedExpertUps,
    kExpertDowns,
    kFusedExpertDowns,
    {LAYER "mlp.shared_experts.gate_proj.weight",
     "blk.{bid}.ffn_gate_shexp.weight",
     {hidden, shared_feed_forward},
     {},
     with_shared_experts},
    {LAYER "mlp.shared_experts.up_proj.weight",
     "blk.{bid}.ffn_up_shexp.weight",
     {hidden, shared_feed_forward},
     {},
     with_shared_experts},
    {LAYER "mlp.shared_experts.down_proj.weight",
     "blk.{bid}.ffn_down_shexp.weight",
     {shared_feed_forward, hidden},
     {},
     with_shared_experts},
    kOutputNorm,
    kOutput,
};
#undef LAYER
/// Of two alternatives the first is the form of the family's own checkpoints: Mistral's experts are fused.
static constexpr auto kMistral4Tensors = [] {
    auto tensors = std::to_array(kTensors);
    for (size_t i = 1; i < tensors.size(); ++i) {
        if (tensors[i].target == tensors[i - 1].target) std::swap(tensors[i], tensors[i - 1]);
    }
    return tensors;
}();

/// Experts may be limited to those of some groups: in DeepSeek-V2 the groups that have the best experts, in
/// V3 those whose two best have the largest sum.
enum class Groups { None, BestExpert, TwoBestExperts };

static Groups groups_of(const Json& config) {
    if (config.get_uint("n_group").value_or(1) <= 1 || !config.get_uint("topk_group")) return Groups::None;
    if (config.get_string("model_type") == "deepseek_v3") return Groups::TwoBestExperts;
    const std::string method = config.get_string("topk_method").value_or("greedy");
    if (method == "group_limited_greedy") return Groups::BestExpert;
    return method == "noaux_tc" ? Groups::TwoBestExperts : Groups::None;
}

static void refine(const Json& config, ModelConfig& model) {
    model.latent = {.query_rank = config.get_uint("q_lora_rank").value_or(0),
                    .kv_rank = require_dimension(config, "kv_lora_rank"),
                    .unrotated = require_dimension(config, "qk_nope_head_dim"),
                    .rotated = require_dimension(config, "qk_rope_head_dim"),
                    .value = require_dimension(config, "v_head_dim")};
    if (model.latent.query_rank > 0) require_dimension(config, "q_lora_rank");
    // What the file describes is one KV head over compressed vectors.
    model.head_dim_given = false;
    model.head_dim = model.rotary_dim = model.latent.rotated;
    model.n_kv_heads = 1;
    const uint64_t n_dense = config.get_uint("first_k_dense_replace").value_or(0);
    for (uint64_t i = 0; i < model.n_layers; ++i) {
        model.layers[i].n_kv_heads = 1;
        model.layers[i].experts = model.experts.n > 0 && i >= n_dense;
    }
    if (groups_of(config) == Groups::BestExpert) {
        model.warnings.push_back(
            fmt::format("{}: experts are chosen within the groups that hold the best ones "
                        "(group_limited_greedy); llama.cpp ranks groups by their two best experts together",
                        config.where()));
    }
}

static void write_latent(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    const LatentAttention& latent = model.latent;
    // 0 as well: readers that expect the key take it for "not compressed".
    keys.set_uint("attention.q_lora_rank", latent.query_rank);
    keys.set_uint("attention.kv_lora_rank", latent.kv_rank);
    keys.set_uint("attention.key_length", latent.kv_rank + latent.rotated);
    keys.set_uint("attention.value_length", latent.kv_rank);
    keys.set_uint("attention.key_length_mla", latent.unrotated + latent.rotated);
    keys.set_uint("attention.value_length_mla", latent.value);

    const uint64_t n_dense = config.get_uint("first_k_dense_replace").value_or(0);
    keys.set_uint("leading_dense_block_count", model.experts.n > 0 ? n_dense : model.n_layers);
    keys.set_uint("expert_feed_forward_length", model.experts.feed_forward);
    keys.set_uint("expert_shared_count", model.experts.n_shared);
    keys.set_float("expert_weights_scale", config.get_number("routed_scaling_factor").value_or(1));
    if (config.get_bool("norm_topk_prob").value_or(false)) keys.set_bool("expert_weights_norm", true);
    if (model.rope.magnitude_all) {
        // Written in tenths, as readers of this architecture expect it.
        keys.set_float("rope.scaling.yarn_log_multiplier", 0.1 * *model.rope.magnitude_all);
    }
}

constexpr uint64_t kSoftmax = 1, kSigmoid = 2;  // of expert_gating_func

static void deepseek_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    write_latent(model, config, keys);
    const std::string type = config.get_string("model_type").value_or("");
    const std::string scores =
        config.get_string("scoring_func").value_or(type == "deepseek_v3" ? "sigmoid" : "softmax");
    if (scores != "sigmoid" && scores != "softmax")
        fail("{}: \"scoring_func\" is \"{}\"; expected softmax or sigmoid", config.where(), scores);
    keys.set_uint("expert_gating_func", scores == "sigmoid" ? kSigmoid : kSoftmax);
    const Groups groups = groups_of(config);
    if (groups == Groups::None) return;
    // There is no key for how groups are ranked: readers know it from the scores.
    if ((groups == Groups::BestExpert) != (scores == "softmax"))
        fail("{}: \"topk_method\" group_limited_greedy goes with softmax, noaux_tc with sigmoid; found {}",
             config.where(), scores);
    keys.set_uint("expert_group_count", config.get_uint("n_group").value());
    keys.set_uint("expert_group_used_count", config.get_uint("topk_group").value());
}

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};
static constexpr std::string_view kDeepSeekClasses[] = {"DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"};
static constexpr std::string_view kDeepSeekTypes[] = {"deepseek_v2", "deepseek_v3"};
extern const Family kDeepSeek2{.name = "DeepSeek-V2",
                               .classes = kDeepSeekClasses,
                               .model_types = kDeepSeekTypes,
                               .architecture = "deepseek2",
                               .tensors = kTensors,
                               .numbers = kNumbers,
                               .activations = kSilu,
                               .refine = refine,
                               .more_keys = deepseek_keys};

static void mistral4_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    write_latent(model, config, keys);
    keys.set_uint("expert_gating_func", kSoftmax);
    if (const uint64_t n_groups = config.get_uint("n_group").value_or(1); n_groups > 1)
        fail("{}: \"n_group\" is {}; only 1 is known in this family", config.where(), n_groups);
    const Json* rope = config.get_object("rope_parameters");
    const auto beta = rope ? rope->get_number("llama_4_scaling_beta") : std::nullopt;
    if (!beta) return;
    keys.set_float("attention.temperature_scale", *beta);
    keys.set_uint("attention.temperature_length", model.rope.original_context);
}
static constexpr std::string_view kMistral4Classes[] = {"Mistral4ForCausalLM"};
static constexpr std::string_view kMistral4Types[] = {"mistral4"};
extern const Family kMistral4{.name = "Mistral 4",
                              .classes = kMistral4Classes,
                              .model_types = kMistral4Types,
                              .architecture = "mistral4",
                              .tensors = kMistral4Tensors,
                              .numbers = kNumbers,
                              .activations = kSilu,
                              .refine = refine,
                              .more_keys = mistral4_keys};

}  // namespace ingot::converters

#include "runtime/hyperparameters.h"

#include <algorithm>
#include <cmath>

#include "format/error.h"
#include "runtime/keys.h"

namespace ingot::runtime {
namespace {

const ModelFamily& family_of(const GgufHeader& header) {
    const std::string_view wanted = header.require_string("general.architecture");
    std::string known;
    for (const ModelFamily& family : model_families()) {
        if (family.name == wanted) return family;
        known += fmt::format("{}{}", known.empty() ? "" : ", ", family.name);
    }
    fail(
        "general.architecture is \"{}\"; this version runs {}. `inspect` and `quantize` still work on the "
        "file",
        wanted, known);
}

void read_heads(const Keys& keys, Hyperparameters& model) {
    const int64_t n_layers = model.n_layers;
    const std::string heads_key = keys.full("attention.head_count");
    if (!keys.has("attention.head_count")) keys.require_count("attention.head_count", kMaxHeads);
    const std::vector<int64_t> heads = keys.counts("attention.head_count", 1, kMaxHeads, 0, n_layers);
    const std::vector<int64_t> kv_heads =
        keys.has("attention.head_count_kv")
            ? keys.counts("attention.head_count_kv", 1, kMaxHeads, 0, n_layers)
            : heads;
    const int64_t key_length = keys.count("attention.key_length", kMaxHeads, 0);
    const int64_t value_length = keys.count("attention.value_length", kMaxHeads, 0);
    for (int64_t i = 0; i < n_layers; ++i) {
        LayerGeometry& layer = model.layers[size_t(i)];
        layer.n_heads = heads[size_t(i)];
        layer.n_kv_heads = kv_heads[size_t(i)];
        if (layer.n_kv_heads > layer.n_heads) {
            fail("{} is {}, more than {} ({})", keys.full("attention.head_count_kv"), layer.n_kv_heads,
                 heads_key, layer.n_heads);
        }
        if (layer.n_heads % layer.n_kv_heads != 0) {
            fail("{} is {}, which does not divide {} ({}): query heads share key-value heads evenly",
                 keys.full("attention.head_count_kv"), layer.n_kv_heads, heads_key, layer.n_heads);
        }
        if ((key_length == 0 || value_length == 0) && model.n_embd % layer.n_heads != 0) {
            fail("{} is {}, no multiple of {} ({}), and {} is absent", keys.full("embedding_length"),
                 model.n_embd, heads_key, layer.n_heads,
                 keys.full(key_length == 0 ? "attention.key_length" : "attention.value_length"));
        }
        layer.key_dim = key_length != 0 ? key_length : model.n_embd / layer.n_heads;
        layer.value_dim = value_length != 0 ? value_length : model.n_embd / layer.n_heads;
    }
}

// How many there are, how they are chosen, and which layers have them: those with a router.
void read_experts(const GgufHeader& header, const Keys& keys, Hyperparameters& model) {
    const ModelFamily& family = *model.family;
    RoutingRule& rule = model.routing;
    rule.n_experts = keys.count_or_none("expert_count", kMaxExperts, 0);
    rule.n_used = keys.count_or_none("expert_used_count", kMaxExperts, 0);
    if (rule.n_used > rule.n_experts) {
        fail("{} is {}, more than {} ({})", keys.full("expert_used_count"), rule.n_used,
             keys.full("expert_count"), rule.n_experts);
    }
    if (rule.n_experts == 0) return;
    if (rule.n_used == 0) keys.require_count("expert_used_count", kMaxExperts);

    model.n_ff_expert = keys.count_or_none("expert_feed_forward_length", kMaxWidth, 0);
    if (model.n_ff_expert == 0) model.n_ff_expert = keys.require_count("feed_forward_length", kMaxWidth);
    constexpr Gating kGatings[] = {Gating::Softmax, Gating::Sigmoid, Gating::SoftmaxOfChosen};
    const int64_t gating = keys.count_or_none("expert_gating_func", std::size(kGatings), 0);
    rule.gating = gating == 0 ? family.gating : kGatings[gating - 1];
    rule.normalize = keys.flag("expert_weights_norm", family.normalize_experts);
    if (const float scale = keys.positive_or_none("expert_weights_scale", 0); scale != 0) rule.scale = scale;

    rule.n_groups = keys.count("expert_group_count", kMaxExperts, 1);
    rule.n_groups_used = keys.count("expert_group_used_count", kMaxExperts, 1);
    // As DeepSeek-V2 (softmax) and V3 (sigmoid) do it; the file has no key for it.
    rule.group_score = rule.gating == Gating::Softmax ? GroupScore::Largest : GroupScore::SumOfTwoLargest;
    if (rule.n_experts % rule.n_groups != 0 || rule.n_groups_used > rule.n_groups ||
        rule.n_used > rule.n_experts / rule.n_groups * rule.n_groups_used) {
        fail("{} is {} and {} is {}: {} experts cannot be chosen from so many of {}",
             keys.full("expert_group_count"), rule.n_groups, keys.full("expert_group_used_count"),
             rule.n_groups_used, rule.n_used, rule.n_experts);
    }
    for (int64_t i = 0; i < model.n_layers; ++i) {
        LayerGeometry& layer = model.layers[size_t(i)];
        layer.has_experts = header.find_tensor(fmt::format("blk.{}.ffn_gate_inp.weight", i)) != nullptr;
        const TensorInfo* shared = header.find_tensor(fmt::format("blk.{}.ffn_up_shexp.weight", i));
        if (!layer.has_experts || shared == nullptr) continue;
        if (shared->shape[1] < 1 || shared->shape[1] > kMaxWidth) {
            fail("tensor {} has {} rows; expected 1 to {}", shared->name, shared->shape[1], kMaxWidth);
        }
        layer.n_ff_shared = int64_t(shared->shape[1]);
    }
}

void read_latent(const Keys& keys, Hyperparameters& model) {
    LatentGeometry& latent = model.latent;
    latent.rank = keys.require_count("attention.kv_lora_rank", kMaxHeads);
    latent.query_rank = keys.count_or_none("attention.q_lora_rank", kMaxHeads, 0);
    latent.rotated_dim = keys.require_count("rope.dimension_count", kMaxHeads);
    latent.value_dim = keys.require_count("attention.value_length_mla", kMaxHeads);
    const int64_t key_dim = keys.require_count("attention.key_length_mla", kMaxHeads);
    latent.plain_dim = key_dim - latent.rotated_dim;
    if (latent.plain_dim < 1) {
        fail("{} is {}, of which {} are rotated; expected more", keys.full("attention.key_length_mla"),
             key_dim, latent.rotated_dim);
    }
    for (LayerGeometry& layer : model.layers) {
        layer.mixer = Mixer::LatentAttention;
        layer.n_kv_heads = 1;
        layer.key_dim = latent.rank + latent.rotated_dim;
        layer.value_dim = latent.rank;
    }
}

void read_delta(const Keys& keys, Hyperparameters& model) {
    DeltaGeometry& delta = model.delta;
    delta.n_taps = keys.require_count("ssm.conv_kernel", 64);
    DeltaHeads& heads = delta.heads;
    heads.n_key_heads = keys.require_count("ssm.group_count", kMaxHeads);
    heads.n_value_heads = keys.require_count("ssm.time_step_rank", kMaxHeads);
    heads.key_dim = keys.require_count("ssm.state_size", 1 << 12);
    heads.tiled = model.family->tiled_value_heads;
    const int64_t value_width = keys.require_count("ssm.inner_size", kMaxWidth);
    if (heads.n_value_heads % heads.n_key_heads != 0) {
        fail("{} is {}, no multiple of {} ({})", keys.full("ssm.time_step_rank"), heads.n_value_heads,
             keys.full("ssm.group_count"), heads.n_key_heads);
    }
    if (value_width % heads.n_value_heads != 0) {
        fail("{} is {}, no multiple of {} ({})", keys.full("ssm.inner_size"), value_width,
             keys.full("ssm.time_step_rank"), heads.n_value_heads);
    }
    heads.value_dim = value_width / heads.n_value_heads;
    if (delta.mixed_width() > int64_t(kMaxWidth) || heads.value_dim > (1 << 12)) {
        fail("{} is {} and {} is {}: wider than any model", keys.full("ssm.group_count"), heads.n_key_heads,
             keys.full("ssm.inner_size"), value_width);
    }
    const int64_t period = keys.count("full_attention_interval", kMaxContext, 4);
    const std::vector<bool> recurrent = keys.pattern("attention.recurrent_layers", period, model.n_layers);
    for (int64_t i = 0; i < model.n_layers; ++i) {
        LayerGeometry& layer = model.layers[size_t(i)];
        if (!recurrent[size_t(i)]) continue;
        layer.mixer = Mixer::DeltaNet;
        layer.n_heads = layer.n_kv_heads = layer.key_dim = layer.value_dim = 0;
    }
}

void read_temperature(const Keys& keys, Hyperparameters& model) {
    const ModelFamily& family = *model.family;
    model.temperature_scale =
        keys.positive_or_none("attention.temperature_scale", double(family.temperature_scale));
    const int64_t usual =
        family.temperature_length != 0 ? family.temperature_length : model.rope.original_context;
    model.temperature_length = keys.count("attention.temperature_length", kMaxContext, uint64_t(usual));
    for (LayerGeometry& layer : model.layers) {
        layer.has_temperature =
            model.temperature_scale != 0 && (!family.temperature_unrotated || layer.rope == RopeUse::None);
    }
}

void read_windows(const Keys& keys, Hyperparameters& model) {
    const ModelFamily& family = *model.family;
    const int64_t window =
        keys.count_or_none("attention.sliding_window", kMaxContext, uint64_t(family.window));
    const std::vector<bool> has_window =
        keys.pattern("attention.sliding_window_pattern", family.window_period, model.n_layers);
    for (int64_t i = 0; i < model.n_layers; ++i) {
        LayerGeometry& layer = model.layers[size_t(i)];
        const bool windowed = window != 0 && has_window[size_t(i)];
        layer.window = windowed ? window : 0;
        layer.rope = RopeUse::Common;
        if (windowed) {
            layer.key_dim = keys.count("attention.key_length_swa", kMaxHeads, uint64_t(layer.key_dim));
            layer.value_dim = keys.count("attention.value_length_swa", kMaxHeads, uint64_t(layer.value_dim));
        }
        if (windowed && family.window_rope == WindowRope::Unscaled) layer.rope = RopeUse::Window;
        if (!windowed && family.window_rope == WindowRope::Only) layer.rope = RopeUse::None;
        if (family.rope_skip != 0 && (i + 1) % family.rope_skip == 0) layer.rope = RopeUse::None;
        if (family.position != Position::Rope) layer.rope = RopeUse::None;
    }
}

// The last layers may see the keys and values of the last one before them that has the same kind of window.
void read_shared_layers(const Keys& keys, Hyperparameters& model) {
    const int64_t n_layers = model.n_layers;
    const int64_t n_own = n_layers - keys.count_or_none("attention.shared_kv_layers", uint64_t(n_layers), 0);
    for (int64_t i = 0; i < n_layers; ++i) {
        LayerGeometry& layer = model.layers[size_t(i)];
        layer.kv_layer = i;
        if (i < n_own) continue;
        int64_t source = n_own - 1;
        while (source >= 0 && model.layers[size_t(source)].window != layer.window) --source;
        if (source < 0) {
            fail("{} leaves {} layers with keys of their own, none of which has the window of layer {}",
                 keys.full("attention.shared_kv_layers"), n_own, i);
        }
        const LayerGeometry& other = model.layers[size_t(source)];
        if (other.n_kv_heads != layer.n_kv_heads || other.key_dim != layer.key_dim ||
            other.value_dim != layer.value_dim) {
            fail("{}: layer {} would see the keys of layer {}, whose heads are others",
                 keys.full("attention.shared_kv_layers"), i, source);
        }
        layer.kv_layer = source;
    }
}

void read_rope(const Keys& keys, Hyperparameters& model) {
    RopeParameters& rope = model.rope;
    const uint64_t key_dim = uint64_t(model.widest([](const LayerGeometry& layer) { return layer.key_dim; }));
    if (key_dim == 0) fail("{}: no layer has attention", keys.full("full_attention_interval"));
    rope.n_rot = keys.count("rope.dimension_count", key_dim, key_dim);
    if (rope.n_rot % 2 != 0) {
        fail("{} is {}; expected an even number, elements are rotated in pairs",
             keys.full("rope.dimension_count"), rope.n_rot);
    }
    rope.base = keys.positive("rope.freq_base", 10000);
    rope.original_context =
        keys.count("rope.scaling.original_context_length", kMaxContext, uint64_t(model.n_context));
    rope.attention_factor = keys.positive("rope.scaling.attn_factor", 1);
    rope.whole_ramp = keys.flag("rope.scaling.yarn_truncate", true);

    const std::string_view type = keys.text("rope.scaling.type");
    const bool old_key = !keys.has("rope.scaling.factor") && keys.has("rope.scale_linear");
    const char* factor_key = old_key ? "rope.scale_linear" : "rope.scaling.factor";
    if (type == "linear" || (type.empty() && keys.has(factor_key))) {
        rope.scaling = RopeScaling::Linear;
        // Older files say 0 for none.
        if (const float factor = keys.positive_or_none(factor_key, 1); factor != 0) rope.factor = factor;
    } else if (type == "yarn") {
        rope.scaling = RopeScaling::Yarn;
        rope.factor = keys.positive(factor_key, 1);
        rope.beta_fast = keys.positive("rope.scaling.yarn_beta_fast", 32);
        rope.beta_slow = keys.positive("rope.scaling.yarn_beta_slow", 1);
        rope.extrapolation = keys.positive_or_none("rope.scaling.yarn_ext_factor", 1);
        rope.log_multiplier_all =
            keys.positive_or_none("rope.scaling.yarn_log_multiplier", 0) / model.family->yarn_log_unit;
        if (model.family->yarn_log_cancels && rope.log_multiplier_all != 0)
            rope.log_multiplier = rope.log_multiplier_all;
    } else if (type == "longrope") {
        rope.scaling = RopeScaling::LongRope;
    } else if (!type.empty() && type != "none") {
        fail("{} is \"{}\"; this version knows none, linear, yarn and longrope",
             keys.full("rope.scaling.type"), type);
    }

    model.window_rope = rope;
    if (model.family->window_rope == WindowRope::Unscaled) {
        const auto window_key_dim = [](const LayerGeometry& layer) {
            return layer.window ? layer.key_dim : 0;
        };
        const uint64_t widest = uint64_t(model.widest(window_key_dim));
        const uint64_t usual = widest == 0 ? uint64_t(rope.n_rot) : std::min(uint64_t(rope.n_rot), widest);
        model.window_rope.n_rot = keys.count("rope.dimension_count_swa", std::max(widest, usual), usual);
        if (model.window_rope.n_rot % 2 != 0) {
            fail("{} is {}; expected an even number, elements are rotated in pairs",
                 keys.full("rope.dimension_count_swa"), model.window_rope.n_rot);
        }
        model.window_rope = RopeParameters{.n_rot = model.window_rope.n_rot};
        const float base = model.family->window_rope_base;
        model.window_rope.base = keys.positive("rope.freq_base_swa", double(base != 0 ? base : rope.base));
    }
}

void read_scales(const GgufHeader& header, const Keys& keys, Hyperparameters& model) {
    const ModelFamily& family = *model.family;
    const LayerGeometry& first = model.layers[0];
    model.attention_scale = keys.positive_or_none("attention.scale", double(family.attention_scale));
    if (model.attention_scale == 0 && family.n_layers_wide_scale == model.n_layers) {
        model.attention_scale = 1 / std::sqrt(float(model.n_embd) / float(first.n_heads));
    }
    model.attention_soft_cap =
        keys.positive_or_none("attn_logit_softcapping", double(family.attention_soft_cap));
    model.final_soft_cap = keys.positive_or_none("final_logit_softcapping", double(family.final_soft_cap));
    model.clamp_qkv = keys.positive_or_none("attention.clamp_kqv", 0);
    model.embedding_scale = family.embedding_scaled ? std::sqrt(float(model.n_embd)) : 1.0f;
    if (const float scale = keys.positive_or_none("embedding_scale", 0); scale != 0)
        model.embedding_scale = scale;
    if (const float scale = keys.positive_or_none("residual_scale", 0); scale != 0)
        model.residual_scale = scale;
    if (family.logit_scale != LogitScale::None) {
        const float scale = keys.positive("logit_scale", 1);
        model.logit_scale = family.logit_scale == LogitScale::Divide ? 1 / scale : scale;
    }
    if (family.position == Position::Alibi) {
        // Models that may have either say so by the table of learned positions.
        const bool learned = header.find_tensor("position_embd.weight") != nullptr;
        model.max_alibi_bias = keys.positive_or_none("attention.max_alibi_bias", learned ? 0 : 8);
    }
}

// The vocabulary is the embedding's number of rows; the tokenizer has to agree with it.
int64_t vocabulary_size(const GgufHeader& header) {
    const TensorInfo* embedding = header.find_tensor("token_embd.weight");
    if (embedding == nullptr) fail("tensor token_embd.weight is missing; the file cannot be run");
    if (embedding->shape[1] < 1 || embedding->shape[1] > kMaxContext) {
        fail("tensor token_embd.weight has {} rows; expected one for each token", embedding->shape[1]);
    }
    const Value* tokens = header.find("tokenizer.ggml.tokens");
    if (tokens != nullptr && tokens->count() != embedding->shape[1]) {
        fail(
            "tokenizer.ggml.tokens has {} tokens but token_embd.weight has {} rows; both must be the "
            "vocabulary",
            tokens->count(), embedding->shape[1]);
    }
    return int64_t(embedding->shape[1]);
}

}  // namespace

Hyperparameters Hyperparameters::from_header(const GgufHeader& header) {
    Hyperparameters model;
    model.family = &family_of(header);
    const ModelFamily& family = *model.family;
    const Keys keys(header, family.name);

    model.n_layers = keys.require_count("block_count", kMaxContext);
    if (uint64_t(model.n_layers) > header.tensors().size()) {
        fail("{} is {} but the file holds only {} tensors; every layer has several", keys.full("block_count"),
             model.n_layers, header.tensors().size());
    }
    model.layers.resize(size_t(model.n_layers));
    model.n_embd = keys.require_count("embedding_length", kMaxWidth);
    model.n_context = keys.require_count("context_length", kMaxContext);
    read_experts(header, keys, model);
    const bool all_experts =
        !family.experts_beside && std::ranges::all_of(model.layers, &LayerGeometry::has_experts);
    if (!keys.has("feed_forward_length") && !all_experts)
        keys.require_count("feed_forward_length", kMaxWidth);
    const std::vector<int64_t> n_ff =
        keys.counts("feed_forward_length", all_experts ? 0 : 1, kMaxWidth, 0, model.n_layers);
    for (size_t i = 0; i < n_ff.size(); ++i) {
        const bool dense = !model.layers[i].has_experts || family.experts_beside;
        model.layers[i].n_ff = dense ? n_ff[i] : 0;
    }
    read_heads(keys, model);
    if (family.mixer == MixerFamily::LatentAttention) read_latent(keys, model);
    if (family.mixer == MixerFamily::AttentionAndDeltaNet) read_delta(keys, model);

    model.norm_epsilon = keys.positive(
        family.norm == NormKind::Rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon",
        1e-5);
    model.parallel_residual =
        family.residual == Residual::Parallel ||
        (family.residual == Residual::ByKey && keys.flag("use_parallel_residual", true));
    read_windows(keys, model);
    read_shared_layers(keys, model);
    read_rope(keys, model);
    read_temperature(keys, model);
    read_scales(header, keys, model);
    model.n_layer_embd = keys.count_or_none("embedding_length_per_layer_input", kMaxWidth, 0);
    if (model.n_layer_embd * model.n_layers > int64_t(kMaxWidth)) {
        fail("{} is {}: too wide for {} layers", keys.full("embedding_length_per_layer_input"),
             model.n_layer_embd, model.n_layers);
    }
    model.n_vocab = vocabulary_size(header);
    return model;
}

}  // namespace ingot::runtime

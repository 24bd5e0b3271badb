#include "converters/architectures/model_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "format/error.h"

namespace ingot::converters {

namespace {

// Far above any model, and small enough that no product of two of them leaves 64 bits.
constexpr uint64_t kMaxDimension = uint64_t(1) << 31;
// Each layer has a LayerConfig, so that a hostile number of them must not become memory.
constexpr uint64_t kMaxLayers = 1 << 16;

/// The member under the first of "key|other_key" that is there, and its key.
std::pair<const Json*, std::string_view> find_first(const Json& config, std::string_view keys) {
    while (!keys.empty()) {
        const std::string_view key = keys.substr(0, keys.find('|'));
        if (const Json* member = config.find(key)) return {member, key};
        keys.remove_prefix(std::min(keys.size(), key.size() + 1));
    }
    return {nullptr, {}};
}

std::string_view first_key(std::string_view keys) {
    return keys.substr(0, keys.find('|'));
}

const Family& require_family(const Json& config) {
    if (const Family* family = find_family(config)) return *family;
    const auto classes = config.get_strings("architectures");
    if (classes.empty()) {
        fail("{}: no \"architectures\" that names the model's class; supported are {}", config.where(),
             supported_classes());
    }
    fail("{}: the architecture {} is not supported yet; supported are {}", config.where(),
         fmt::join(classes, ", "), supported_classes());
}

std::string read_activation(const Json& config, const Family& family) {
    const auto [member, key] =
        find_first(config, "hidden_act|hidden_activation|activation_function|activation");
    if (!member) return std::string(family.activations.front());
    const std::string& activation = member->as_string();
    if (std::ranges::find(family.activations, activation) != family.activations.end()) return activation;
    fail("{}: \"{}\" is \"{}\", but a {} model in GGUF always has {}", config.where(), key, activation,
         family.name, family.activations.front());
}

void read_heads(const Json& config, ModelConfig& model) {
    constexpr std::string_view kKvHeads = "num_key_value_heads|num_kv_heads|n_head_kv";
    model.n_heads = require_dimension(config, "num_attention_heads|n_head|n_heads");
    model.n_kv_heads =
        find_first(config, kKvHeads).first ? require_dimension(config, kKvHeads) : model.n_heads;
    model.head_dim_given = config.find("head_dim") != nullptr;
    if (model.head_dim_given) {
        model.head_dim = require_dimension(config, "head_dim");
    } else {
        if (model.hidden % model.n_heads != 0) {
            fail(
                "{}: \"hidden_size\" {} is no multiple of \"num_attention_heads\" {}, and there is no "
                "\"head_dim\"",
                config.where(), model.hidden, model.n_heads);
        }
        model.head_dim = model.hidden / model.n_heads;
    }
}

/// The part of a head that is rotated: a factor in one of several places, or the number itself.
uint64_t read_rotary_dim(const Json& config, const ModelConfig& model) {
    if (const auto given = config.get_uint("rotary_dim")) return *given;
    const Json* rope = config.get_object("rope_parameters");
    std::optional<double> part;
    if (rope && !rope->find("full_attention")) part = rope->get_number("partial_rotary_factor");
    if (!part) part = find_number(config, "partial_rotary_factor|rotary_pct|rope_pct");
    return uint64_t(std::clamp(part.value_or(model.family->rotary_part), 0.0, 1.0) * double(model.head_dim));
}

void read_experts(const Json& config, ModelConfig& model) {
    Experts& experts = model.experts;
    experts.n = find_uint(config, "num_local_experts|num_experts|n_routed_experts").value_or(0);
    if (experts.n == 0) return;
    if (experts.n >= kMaxDimension) fail("{}: {} experts", config.where(), experts.n);
    experts.n_used = require_dimension(config, "num_experts_per_tok|num_experts_per_token|top_k_experts");
    if (experts.n_used > experts.n) {
        fail("{}: {} experts for each token, but there are only {}", config.where(), experts.n_used,
             experts.n);
    }
    experts.feed_forward = require_dimension(config, "moe_intermediate_size|intermediate_size");
    experts.n_shared = find_uint(config, "n_shared_experts").value_or(0);
    experts.shared_feed_forward = find_uint(config, "shared_expert_intermediate_size").value_or(0);
    if (experts.n_shared >= kMaxDimension || experts.shared_feed_forward >= kMaxDimension)
        fail("{}: the shared experts make no sense", config.where());
    if (experts.shared_feed_forward == 0)
        experts.shared_feed_forward = experts.n_shared * experts.feed_forward;
}

/// layer_types, where config.json has them.
void read_layers(const Json& config, ModelConfig& model) {
    LayerConfig layer;
    layer.n_kv_heads = model.n_kv_heads;
    layer.head_dim = model.head_dim;
    layer.feed_forward = model.feed_forward;
    layer.experts = model.experts.n > 0;
    model.layers.assign(model.n_layers, layer);
    const std::vector<std::string> types = config.get_strings("layer_types");
    if (types.empty()) return;
    if (types.size() < model.n_layers) {
        fail("{}: \"layer_types\" has {} elements, but there are {} layers", config.where(), types.size(),
             model.n_layers);
    }
    for (uint64_t i = 0; i < model.n_layers; ++i) {
        model.layers[i].sliding = types[i] == "sliding_attention" || types[i] == "chunked_attention";
        model.layers[i].recurrent = types[i] == "linear_attention";
    }
}

void check_heads(const Json& config, const ModelConfig& model) {
    for (const LayerConfig& layer : model.layers) {
        if (layer.n_kv_heads == 0 || layer.n_kv_heads > model.n_heads ||
            model.n_heads % layer.n_kv_heads != 0) {
            fail("{}: {} attention heads cannot share {} key-value heads", config.where(), model.n_heads,
                 layer.n_kv_heads);
        }
    }
    if (model.family->positions != Positions::Rotary) return;
    uint64_t widest = 0;
    for (const LayerConfig& layer : model.layers) widest = std::max(widest, layer.head_dim);
    if (model.head_dim % 2 != 0 || model.rotary_dim % 2 != 0 || model.rotary_dim == 0 ||
        model.rotary_dim > widest) {
        fail("{}: heads of {} elements cannot be rotated in pairs{}", config.where(), model.head_dim,
             model.rotary_dim == model.head_dim ? "" : fmt::format(", {} of them", model.rotary_dim));
    }
}

}  // namespace

const Json& text_config(const Json& config) {
    for (const char* key : {"text_config", "llm_config", "language_config"}) {
        if (const Json* text = config.get_object(key)) return *text;
    }
    return config;
}

std::optional<uint64_t> find_uint(const Json& config, std::string_view keys) {
    const auto [member, key] = find_first(config, keys);
    return member ? config.get_uint(key) : std::nullopt;
}

std::optional<double> find_number(const Json& config, std::string_view keys) {
    const auto [member, key] = find_first(config, keys);
    return member ? config.get_number(key) : std::nullopt;
}

uint64_t require_dimension(const Json& config, std::string_view keys) {
    const auto [member, key] = find_first(config, keys);
    if (!member) fail("{}: \"{}\" is missing", config.where(), first_key(keys));
    const uint64_t value = *config.get_uint(key);
    if (value == 0 || value >= kMaxDimension) fail("{}: \"{}\" is {}", config.where(), key, value);
    return value;
}

ModelConfig read_model_config(const Json& outer, const Family* family) {
    ModelConfig model;
    model.family = family ? family : &require_family(outer);
    const Json& config = text_config(outer);
    model.n_layers = require_dimension(config, "num_hidden_layers|n_layer|n_layers");
    if (model.n_layers > kMaxLayers) {
        fail("{}: {} layers; no model has more than {}", config.where(), model.n_layers, kMaxLayers);
    }
    model.hidden = require_dimension(config, "hidden_size|n_embd|d_model|n_embed");
    constexpr std::string_view kFeedForward =
        "intermediate_size|n_inner|ffn_hidden_size|ffn_dim|moe_intermediate_size";
    model.feed_forward = model.family->feed_forward_factor > 0 && !find_first(config, kFeedForward).first
                             ? model.family->feed_forward_factor * model.hidden
                             : require_dimension(config, kFeedForward);
    model.vocabulary = require_dimension(config, "vocab_size");
    read_heads(config, model);
    model.context =
        find_uint(config, "max_position_embeddings|n_positions|n_ctx|max_seq_len|seq_length").value_or(0);
    model.window = config.get_uint("sliding_window").value_or(0);
    model.activation = read_activation(config, *model.family);
    auto tied = config.get_bool("tie_word_embeddings");
    if (&config != &outer && !tied) tied = outer.get_bool("tie_word_embeddings");
    model.tied_output = tied.value_or(model.family->tied_by_default);
    model.attention_bias = config.get_bool("attention_bias").value_or(false);
    model.mlp_bias = config.get_bool("mlp_bias").value_or(false);
    model.n_further_layers = config.get_uint("num_nextn_predict_layers").value_or(0);
    read_experts(config, model);
    read_layers(config, model);
    model.rotary_dim = read_rotary_dim(config, model);
    if (model.family->refine) model.family->refine(config, model);
    check_heads(config, model);
    if (model.family->positions == Positions::Rotary) read_rope(config, model);
    if (config.get_bool("use_sliding_window").value_or(false)) {
        model.warnings.push_back(fmt::format(
            "{}: the sliding window is not stored; beyond {} tokens attention sees more than in training",
            config.where(), model.window));
    }
    return model;
}

}  // namespace ingot::converters

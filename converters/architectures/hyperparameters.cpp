// A model's dimensions under GGUF's keys.
#include <algorithm>
#include <cmath>
#include <limits>

#include "converters/architectures/model_config.h"
#include "format/error.h"

namespace ingot::converters {

void Hyperparameters::set_uint(std::string_view suffix, uint64_t value) {
    if (value > std::numeric_limits<uint32_t>::max()) {
        fail("{}: {} for {}{} does not fit into 32 bits", where_, value, prefix_, suffix);
    }
    metadata_.set(prefix_ + std::string(suffix), uint32_t(value));
}
void Hyperparameters::set_float(std::string_view suffix, double value) {
    metadata_.set(prefix_ + std::string(suffix), float(value));
}
void Hyperparameters::set_bool(std::string_view suffix, bool value) {
    metadata_.set(prefix_ + std::string(suffix), value);
}
void Hyperparameters::set_text(std::string_view suffix, std::string_view value) {
    metadata_.set(prefix_ + std::string(suffix), value);
}
void Hyperparameters::set_uints(std::string_view suffix, const std::vector<uint64_t>& values) {
    std::vector<uint32_t> narrow;
    for (const uint64_t value : values) {
        if (value > std::numeric_limits<uint32_t>::max())
            fail("{}: {} in {}{} does not fit into 32 bits", where_, value, prefix_, suffix);
        narrow.push_back(uint32_t(value));
    }
    metadata_.set(prefix_ + std::string(suffix), MetadataArray{std::move(narrow)});
}
void Hyperparameters::set_bools(std::string_view suffix, const std::vector<bool>& values) {
    metadata_.set(prefix_ + std::string(suffix), MetadataArray{values});
}

namespace {

void write_number(const NumberRule& rule, const Json& config, Hyperparameters& keys) {
    if (rule.kind == NumberKind::Bool) {
        const auto value = config.get_bool(rule.config_key);
        if (value || rule.fallback)
            keys.set_bool(rule.suffix, value.value_or(rule.fallback.value_or(0) != 0));
        return;
    }
    const auto given = find_number(config, rule.config_key);
    const auto value = given ? given : rule.fallback;
    if (!value && rule.optional) return;
    if (!value) {
        fail("{}: \"{}\" is missing", config.where(), rule.config_key.substr(0, rule.config_key.find('|')));
    }
    if (rule.kind == NumberKind::Uint32) {
        keys.set_uint(rule.suffix, given ? *find_uint(config, rule.config_key) : uint64_t(*value));
    } else {
        keys.set_float(rule.suffix, *value);
    }
}

void write_rope(const ModelConfig& model, Hyperparameters& keys) {
    keys.set_float("rope.freq_base", model.rope_theta);
    if (model.rope_theta_sliding) keys.set_float("rope.freq_base_swa", *model.rope_theta_sliding);
    keys.set_uint("rope.dimension_count", model.rotary_dim);

    const RopeScaling& rope = model.rope;
    switch (rope.kind) {
        case RopeScaling::Kind::None:
        case RopeScaling::Kind::Llama3:
        case RopeScaling::Kind::Proportional:
            return;
        case RopeScaling::Kind::Linear:
            keys.set_text("rope.scaling.type", "linear");
            keys.set_float("rope.scaling.factor", rope.factor);
            return;
        case RopeScaling::Kind::LongRope:
            keys.set_text("rope.scaling.type", "longrope");
            keys.set_uint("rope.scaling.original_context_length", rope.original_context);
            keys.set_float("rope.scaling.attn_factor", rope.attention.value_or(1));
            return;
        case RopeScaling::Kind::Yarn:
            break;
    }
    keys.set_text("rope.scaling.type", "yarn");
    keys.set_float("rope.scaling.factor", rope.factor);
    keys.set_uint("rope.scaling.original_context_length", rope.original_context);
    if (rope.extrapolation) keys.set_float("rope.scaling.yarn_ext_factor", *rope.extrapolation);
    if (rope.attention) {
        // Readers multiply the magnitude of YaRN's paper by attn_factor; the checkpoint gives their product.
        keys.set_float("rope.scaling.yarn_attn_factor", *rope.attention);
        keys.set_float("rope.scaling.attn_factor",
                       *rope.attention / (1 + 0.1 * std::log(std::max(1.0, rope.factor))));
    }
    if (rope.beta_fast) keys.set_float("rope.scaling.yarn_beta_fast", *rope.beta_fast);
    if (rope.beta_slow) keys.set_float("rope.scaling.yarn_beta_slow", *rope.beta_slow);
}

/// One number where all layers agree, otherwise one for each.
void set_per_layer(const ModelConfig& model, std::string_view suffix, uint64_t LayerConfig::*member,
                   Hyperparameters& keys) {
    std::vector<uint64_t> values;
    for (const LayerConfig& layer : model.layers) values.push_back(layer.*member);
    if (std::ranges::all_of(values, [&](uint64_t value) { return value == values.front(); })) {
        keys.set_uint(suffix, values.front());
    } else {
        keys.set_uints(suffix, values);
    }
}

}  // namespace

void write_hyperparameters(const ModelConfig& model, const Json& outer, Metadata& metadata) {
    const Json& config = text_config(outer);
    Hyperparameters keys(std::string(model.family->architecture) + ".", config.where(), metadata);
    keys.set_uint("block_count", model.n_layers);
    for (const NumberRule& rule : model.family->numbers) write_number(rule, config, keys);
    keys.set_uint("embedding_length", model.hidden);
    set_per_layer(model, "feed_forward_length", &LayerConfig::feed_forward, keys);
    keys.set_uint("attention.head_count", model.n_heads);
    set_per_layer(model, "attention.head_count_kv", &LayerConfig::n_kv_heads, keys);
    if (model.head_dim_given) {
        keys.set_uint("attention.key_length", model.head_dim);
        keys.set_uint("attention.value_length", model.head_dim);
    }
    // There are two GELUs, the exact one and an approximation by tanh, and no key that every reader asks for.
    if (model.activation.starts_with("gelu")) keys.set_text("hidden_activation", model.activation);
    if (model.family->positions == Positions::Rotary) write_rope(model, keys);
    keys.set_uint("vocab_size", model.vocabulary);
    if (model.experts.n > 0) {
        keys.set_uint("expert_count", model.experts.n);
        keys.set_uint("expert_used_count", model.experts.n_used);
    }
    if (model.family->more_keys) model.family->more_keys(model, config, keys);
}

}  // namespace ingot::converters

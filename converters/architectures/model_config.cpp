#include "converters/architectures/model_config.h"

#include <cmath>
#include <limits>
#include <numbers>

#include "format/error.h"

namespace ingot::converters {

namespace {

// Far above any model, and small enough that no product of two of them leaves 64 bits.
constexpr uint64_t kMaxDimension = uint64_t(1) << 31;

uint64_t require_dimension(const Json& config, std::string_view key) {
    const auto value = config.get_uint(key);
    if (!value) fail("{}: \"{}\" is missing", config.where(), key);
    if (*value == 0 || *value >= kMaxDimension) fail("{}: \"{}\" is {}", config.where(), key, *value);
    return *value;
}

const Family& require_family(const Json& config) {
    const auto classes = config.get_strings("architectures");
    for (const std::string& name : classes) {
        if (const Family* family = find_family(name)) return *family;
    }
    if (classes.empty()) {
        fail("{}: no \"architectures\" that names the model's class; supported are {}", config.where(),
             supported_classes());
    }
    fail("{}: the architecture {} is not supported yet; supported are {}", config.where(),
         fmt::join(classes, ", "), supported_classes());
}

void refuse_quantized(const Json& config) {
    const Json* quantization = config.get_object("quantization_config");
    if (!quantization) quantization = config.get_object("compression_config");
    if (!quantization) return;
    const std::string method = quantization->get_string("quant_method").value_or("an unnamed method");
    fail(
        "{}: this checkpoint is already quantized ({}, see \"quantization_config\"); such weights are not "
        "read yet: "
        "convert the original checkpoint instead",
        config.where(), method);
}

/// `rope_scaling`, or in newer checkpoints `rope_parameters`, which holds the base too.
void read_rope(const Json& config, ModelConfig& model) {
    const Json* rope = config.get_object("rope_parameters");
    if (!rope) rope = config.get_object("rope_scaling");
    const auto base = config.get_number("rope_theta");
    model.rope_theta =
        rope && rope->find("rope_theta") ? *rope->get_number("rope_theta") : base.value_or(10000.0);
    if (!(model.rope_theta > 0) || !std::isfinite(float(model.rope_theta))) {
        fail("{}: \"rope_theta\" is {}, expected a positive number", config.where(), model.rope_theta);
    }
    if (!rope) return;
    auto kind = rope->get_string("rope_type");
    if (!kind) kind = rope->get_string("type");
    if (!kind || *kind == "default") return;

    RopeScaling& scaling = model.rope;
    if (*kind == "dynamic") {
        model.warnings.push_back(fmt::format(
            "{}: the dynamic scaling cannot be stored in GGUF; beyond {} tokens the text will differ",
            rope->where(), config.get_uint("max_position_embeddings").value_or(0)));
        return;
    }
    if (*kind == "linear") {
        scaling.kind = RopeScaling::Kind::Linear;
    } else if (*kind == "yarn") {
        scaling.kind = RopeScaling::Kind::Yarn;
    } else if (*kind == "llama3") {
        scaling.kind = RopeScaling::Kind::Llama3;
    } else {
        fail("{}: the rope type \"{}\" is not supported; supported are default, linear, llama3 and yarn",
             rope->where(), *kind);
    }
    const auto positive = [&](const char* key, std::optional<double> fallback) {
        const auto value = rope->get_number(key) ? rope->get_number(key) : fallback;
        if (!value) fail("{}: \"{}\" is missing", rope->where(), key);
        if (!(*value > 0) || !std::isfinite(float(*value)))
            fail("{}: \"{}\" is {}", rope->where(), key, *value);
        return *value;
    };
    const bool is_llama3 = scaling.kind == RopeScaling::Kind::Llama3;
    scaling.factor = positive("factor", is_llama3 ? std::optional(8.0) : std::nullopt);
    auto original = rope->get_uint("original_max_position_embeddings");
    if (!original) original = config.get_uint("original_max_position_embeddings");
    if (!original)
        original = is_llama3 ? std::optional<uint64_t>(8192) : config.get_uint("max_position_embeddings");
    scaling.original_context = original.value_or(0);
    if (is_llama3) {
        scaling.low_frequency = positive("low_freq_factor", 1.0);
        scaling.high_frequency = positive("high_freq_factor", 4.0);
        if (scaling.low_frequency == scaling.high_frequency || scaling.original_context == 0) {
            fail("{}: low_freq_factor and high_freq_factor are both {}, or the original context is 0",
                 rope->where(), scaling.low_frequency);
        }
    }
    scaling.extrapolation = rope->get_number("extrapolation_factor");
    scaling.attention = rope->get_number("attention_factor");
    if (!scaling.attention) scaling.attention = rope->get_number("attn_factor");
    scaling.beta_fast = rope->get_number("beta_fast");
    scaling.beta_slow = rope->get_number("beta_slow");
}

}  // namespace

uint64_t ModelConfig::dimension(Dimension dimension) const {
    switch (dimension) {
        case Dimension::None:
            return 0;
        case Dimension::Vocabulary:
            return vocabulary;
        case Dimension::Hidden:
            return hidden;
        case Dimension::FeedForward:
            return feed_forward;
        case Dimension::QueryWidth:
            return n_heads * head_dim;
        case Dimension::KvWidth:
            return n_kv_heads * head_dim;
    }
    return 0;
}

ModelConfig read_model_config(const Json& config) {
    ModelConfig model;
    model.family = &require_family(config);
    refuse_quantized(config);
    model.n_layers = require_dimension(config, "num_hidden_layers");
    model.hidden = require_dimension(config, "hidden_size");
    model.feed_forward = require_dimension(config, "intermediate_size");
    model.vocabulary = require_dimension(config, "vocab_size");
    model.n_heads = require_dimension(config, "num_attention_heads");
    model.n_kv_heads =
        config.find("num_key_value_heads") ? require_dimension(config, "num_key_value_heads") : model.n_heads;
    if (model.n_kv_heads > model.n_heads || model.n_heads % model.n_kv_heads != 0) {
        fail("{}: {} attention heads cannot share {} key-value heads", config.where(), model.n_heads,
             model.n_kv_heads);
    }
    if (config.find("head_dim")) {
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
    if (model.head_dim % 2 != 0)
        fail("{}: heads of {} elements cannot be rotated in pairs", config.where(), model.head_dim);

    const std::string activation = config.get_string("hidden_act").value_or("silu");
    if (activation != "silu") {
        fail("{}: \"hidden_act\" is \"{}\", but a {} model in GGUF always has silu", config.where(),
             activation, model.family->name);
    }
    model.tied_output = config.get_bool("tie_word_embeddings").value_or(false);
    model.attention_bias = config.get_bool("attention_bias").value_or(false);
    model.mlp_bias = config.get_bool("mlp_bias").value_or(false);
    read_rope(config, model);
    if (config.get_bool("use_sliding_window").value_or(false)) {
        model.warnings.push_back(fmt::format(
            "{}: the sliding window is not stored; beyond {} tokens attention sees more than in training",
            config.where(), config.get_uint("sliding_window").value_or(0)));
    }
    return model;
}

void write_hyperparameters(const ModelConfig& model, const Json& config, Metadata& metadata) {
    const std::string prefix = std::string(model.family->architecture) + ".";
    const auto set_uint = [&](std::string_view suffix, uint64_t value) {
        if (value > std::numeric_limits<uint32_t>::max()) {
            fail("{}: {} for {}{} does not fit into 32 bits", config.where(), value, prefix, suffix);
        }
        metadata.set(prefix + std::string(suffix), uint32_t(value));
    };
    const auto set_float = [&](std::string_view suffix, double value) {
        metadata.set(prefix + std::string(suffix), float(value));
    };

    set_uint("block_count", model.n_layers);
    for (const NumberRule& rule : model.family->numbers) {
        auto value = config.get_number(rule.config_key);
        if (!value) value = rule.fallback;
        if (!value) fail("{}: \"{}\" is missing", config.where(), rule.config_key);
        if (rule.kind == NumberKind::Uint32) {
            set_uint(rule.suffix, *config.get_uint(rule.config_key));
        } else {
            set_float(rule.suffix, *value);
        }
    }
    set_uint("embedding_length", model.hidden);
    set_uint("feed_forward_length", model.feed_forward);
    set_uint("attention.head_count", model.n_heads);
    set_uint("attention.head_count_kv", model.n_kv_heads);
    if (config.find("head_dim")) {
        set_uint("attention.key_length", model.head_dim);
        set_uint("attention.value_length", model.head_dim);
    }
    if (const auto window = config.get_uint("sliding_window"); window && model.family->sliding_window) {
        set_uint("attention.sliding_window", *window);
    }
    set_float("rope.freq_base", model.rope_theta);
    set_uint("rope.dimension_count", model.head_dim);
    set_uint("vocab_size", model.vocabulary);

    const RopeScaling& rope = model.rope;
    if (rope.kind != RopeScaling::Kind::Linear && rope.kind != RopeScaling::Kind::Yarn) return;
    const bool yarn = rope.kind == RopeScaling::Kind::Yarn;
    metadata.set(prefix + "rope.scaling.type", yarn ? "yarn" : "linear");
    set_float("rope.scaling.factor", rope.factor);
    if (!yarn) return;
    set_uint("rope.scaling.original_context_length", rope.original_context);
    if (rope.extrapolation) set_float("rope.scaling.yarn_ext_factor", *rope.extrapolation);
    if (rope.attention) set_float("rope.scaling.yarn_attn_factor", *rope.attention);
    if (rope.beta_fast) set_float("rope.scaling.yarn_beta_fast", *rope.beta_fast);
    if (rope.beta_slow) set_float("rope.scaling.yarn_beta_slow", *rope.beta_slow);
}

std::vector<float> llama3_rope_factors(const ModelConfig& model) {
    // Short wavelengths stay, long ones are stretched by `factor`, and between them the frequency is blended.
    const RopeScaling& rope = model.rope;
    const float context = float(rope.original_context);
    const float low = float(rope.low_frequency), high = float(rope.high_frequency),
                factor = float(rope.factor);
    std::vector<float> factors;
    for (uint64_t i = 0; i < model.head_dim; i += 2) {
        const float frequency = 1.0f / std::pow(float(model.rope_theta), float(i) / float(model.head_dim));
        const float wavelength = 2 * std::numbers::pi_v<float> / frequency;  // tokens
        if (wavelength < context / high) {
            factors.push_back(1.0f);
        } else if (wavelength > context / low) {
            factors.push_back(factor);
        } else {
            const float smooth = (context / wavelength - low) / (high - low);
            factors.push_back(1.0f / ((1 - smooth) / factor + smooth));
        }
    }
    return factors;
}

}  // namespace ingot::converters

// Rotary embeddings: the base, the scalings of Hugging Face's configs, and their GGUF forms.
#include <cmath>
#include <limits>
#include <numbers>

#include "converters/architectures/model_config.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

double positive(const Json& object, const char* key, std::optional<double> fallback) {
    const auto given = object.get_number(key);
    const auto value = given ? given : fallback;
    if (!value) fail("{}: \"{}\" is missing", object.where(), key);
    if (!(*value > 0) || !std::isfinite(float(*value))) fail("{}: \"{}\" is {}", object.where(), key, *value);
    return *value;
}

double base_of(const Json& config, const Json* rope, double fallback) {
    const bool own = rope && rope->find("rope_theta");
    const double base =
        (own ? *rope : config).get_number(own ? "rope_theta" : "rope_theta").value_or(fallback);
    if (!(base > 0) || !std::isfinite(float(base))) {
        fail("{}: \"rope_theta\" is {}, expected a positive number", (own ? *rope : config).where(), base);
    }
    return base;
}

std::vector<float> read_factors(const Json& rope, const char* key, uint64_t n) {
    const Json* list = rope.find(key);
    if (!list) fail("{}: \"{}\" is missing", rope.where(), key);
    if (list->elements().size() != n) {
        fail("{}: \"{}\" has {} numbers; expected {}, one for each rotated pair", rope.where(), key,
             list->elements().size(), n);
    }
    std::vector<float> factors;
    for (const Json& element : list->elements()) {
        const auto value = element.number();
        if (!value || !(*value > 0) || !std::isfinite(float(*value)))
            fail("{}: \"{}\" has an element that is no positive number", rope.where(), key);
        factors.push_back(float(*value));
    }
    return factors;
}

void read_yarn(const Json& rope, RopeScaling& scaling) {
    scaling.extrapolation = rope.get_number("extrapolation_factor");
    scaling.attention = rope.get_number("attention_factor");
    if (!scaling.attention) scaling.attention = rope.get_number("attn_factor");
    scaling.beta_fast = rope.get_number("beta_fast");
    scaling.beta_slow = rope.get_number("beta_slow");
    scaling.magnitude_all = rope.get_number("mscale_all_dim");
}

void read_long_rope(const Json& config, const Json& rope, ModelConfig& model) {
    RopeScaling& scaling = model.rope;
    if (scaling.original_context == 0)
        fail("{}: \"original_max_position_embeddings\" is missing", rope.where());
    scaling.long_factors = read_factors(rope, "long_factor", model.rotary_dim / 2);
    scaling.short_factors = read_factors(rope, "short_factor", model.rotary_dim / 2);
    scaling.attention = rope.get_number("attention_factor");
    const double stretch = double(model.context) / double(scaling.original_context);
    scaling.factor = rope.get_number("factor").value_or(std::max(1.0, stretch));
    if (!scaling.attention) {  // LongRoPE, section 3: longer contexts, sharper attention
        scaling.attention =
            scaling.factor <= 1
                ? 1
                : std::sqrt(1 + std::log(scaling.factor) / std::log(double(scaling.original_context)));
    }
    if (!std::isfinite(float(*scaling.attention)))
        fail("{}: the original context is {} tokens", config.where(), scaling.original_context);
}

void read_llama3(const Json& rope, RopeScaling& scaling) {
    scaling.low_frequency = positive(rope, "low_freq_factor", 1.0);
    scaling.high_frequency = positive(rope, "high_freq_factor", 4.0);
    if (scaling.low_frequency == scaling.high_frequency || scaling.original_context == 0) {
        fail("{}: low_freq_factor and high_freq_factor are both {}, or the original context is 0",
             rope.where(), scaling.low_frequency);
    }
}

}  // namespace

void read_rope(const Json& config, ModelConfig& model) {
    // `rope_scaling`, or in newer checkpoints `rope_parameters`, which holds the base too; and where layers
    // differ, one such object for each kind of layer.
    const Json* rope = config.get_object("rope_parameters");
    if (!rope) rope = config.get_object("rope_scaling");
    const Json* sliding = rope ? rope->get_object("sliding_attention") : nullptr;
    if (const Json* full = rope ? rope->get_object("full_attention") : nullptr) rope = full;
    model.rope_theta = base_of(config, rope, model.rope_theta);
    if (sliding) {
        model.rope_theta_sliding = base_of(config, sliding, 10000);
    } else if (const auto local = config.get_number("rope_local_base_freq")) {
        model.rope_theta_sliding = *local;
    }
    if (!rope) return;
    auto kind = rope->get_string("rope_type");
    if (!kind) kind = rope->get_string("type");
    if (!kind || *kind == "default" || *kind == "mrope") return;

    RopeScaling& scaling = model.rope;
    if (*kind == "dynamic") {
        model.warnings.push_back(fmt::format(
            "{}: the dynamic scaling cannot be stored in GGUF; beyond {} tokens the text will differ",
            rope->where(), model.context));
        return;
    }
    auto original = rope->get_uint("original_max_position_embeddings");
    if (!original) original = config.get_uint("original_max_position_embeddings");
    if (*kind == "linear") {
        scaling.kind = RopeScaling::Kind::Linear;
        scaling.factor = positive(*rope, "factor", {});
    } else if (*kind == "yarn") {
        scaling.kind = RopeScaling::Kind::Yarn;
        scaling.factor = positive(*rope, "factor", {});
        scaling.original_context = original.value_or(model.context);
        read_yarn(*rope, scaling);
    } else if (*kind == "llama3") {
        scaling.kind = RopeScaling::Kind::Llama3;
        scaling.factor = positive(*rope, "factor", 8.0);
        scaling.original_context = original.value_or(8192);
        read_llama3(*rope, scaling);
    } else if (*kind == "longrope" || *kind == "su") {
        scaling.kind = RopeScaling::Kind::LongRope;
        scaling.original_context = original.value_or(0);
        read_long_rope(config, *rope, model);
    } else if (*kind == "proportional") {
        scaling.kind = RopeScaling::Kind::Proportional;
        scaling.factor = rope->get_number("partial_rotary_factor").value_or(1);
        if (!(scaling.factor > 0 && scaling.factor <= 1))
            fail("{}: \"partial_rotary_factor\" is {}", rope->where(), scaling.factor);
    } else {
        fail(
            "{}: the rope type \"{}\" is not supported; supported are default, linear, llama3, yarn, "
            "longrope "
            "and proportional",
            rope->where(), *kind);
    }
}

std::vector<float> llama3_rope_factors(const ModelConfig& model) {
    // Short wavelengths stay, long ones are stretched by `factor`, and between them the frequency is blended.
    const RopeScaling& rope = model.rope;
    const float context = float(rope.original_context);
    const float low = float(rope.low_frequency), high = float(rope.high_frequency),
                factor = float(rope.factor);
    std::vector<float> factors;
    for (uint64_t i = 0; i < model.rotary_dim; i += 2) {
        const float frequency = 1.0f / std::pow(float(model.rope_theta), float(i) / float(model.rotary_dim));
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

std::vector<std::pair<std::string, std::vector<float>>> rope_factor_tensors(const ModelConfig& model) {
    const RopeScaling& rope = model.rope;
    if (rope.kind == RopeScaling::Kind::LongRope) {
        return {{"rope_factors_long.weight", rope.long_factors},
                {"rope_factors_short.weight", rope.short_factors}};
    }
    if (rope.kind == RopeScaling::Kind::Proportional) {
        // Pairs span the whole head, but only the first ones turn. A huge divisor stands still.
        std::vector<float> factors(model.rotary_dim / 2, 1e30f);
        std::fill_n(factors.begin(), uint64_t(double(model.rotary_dim) * rope.factor / 2), 1.0f);
        return {{"rope_freqs.weight", std::move(factors)}};
    }
    return {};
}

}  // namespace ingot::converters

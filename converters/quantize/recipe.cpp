#include "converters/quantize/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <numeric>

namespace ingot::converters {
namespace {

using enum TensorType;

// File type numbers are those of llama.cpp's llama_ftype. Bits per weight are those of Llama-3-8B.
constexpr Recipe kRecipes[] = {
    {"F32", F32, 0, "32.0 bits: exact, for reference"},
    {"F16", F16, 1, "16.0 bits: half precision"},
    {"BF16", BF16, 32, "16.0 bits: what most checkpoints are stored in, exact for them"},
    {"Q8_0", Q8_0, 7, " 8.5 bits: no measurable loss"},
    {"Q6_K", Q6_K, 18, " 6.6 bits: nearly no loss"},
    {"Q5_K_M", Q5_K, 17, " 5.7 bits: very small loss, a good choice"},
    {"Q5_K_S", Q5_K, 16, " 5.6 bits: very small loss"},
    {"Q4_K_M", Q4_K, 15, " 4.9 bits: small loss, the usual choice"},
    {"Q4_K_S", Q4_K, 14, " 4.7 bits: small loss"},
    {"IQ4_NL", IQ4_NL, 25, " 4.7 bits: uneven levels in blocks of 32, for rows no multiple of 256"},
    {"IQ4_XS", IQ4_XS, 30, " 4.5 bits: uneven levels, smaller than Q4_K_S at like quality"},
    {"Q3_K_L", Q3_K, 13, " 4.3 bits: visible loss"},
    {"Q3_K_M", Q3_K, 12, " 4.0 bits: visible loss"},
    {"Q3_K_S", Q3_K, 11, " 3.7 bits: large loss"},
    {"Q2_K", Q2_K, 10, " 3.2 bits: large loss, when nothing else fits"},
    {"Q2_K_S", Q2_K, 21, " 3.0 bits: larger loss; wants an importance matrix"},
    {kKeptMxfp4, Q8_0, 38,
     " 4.3 bits: experts, or all matrices of a model without any; kept where the checkpoint has MXFP4"},
    {"TQ2_0", TQ2_0, 37, " 2.1 bits: for models trained with ternary weights"},
    {"TQ1_0", TQ1_0, 36, " 1.7 bits: for models trained with ternary weights"},
    {"Q5_1", Q5_1, 9, " 6.0 bits: older layout, prefer Q5_K_M"},
    {"Q5_0", Q5_0, 8, " 5.6 bits: older layout, prefer Q5_K_S"},
    {"Q4_1", Q4_1, 3, " 5.1 bits: older layout, prefer Q4_K_M"},
    {"Q4_0", Q4_0, 2, " 4.7 bits: older layout, the simplest and fastest to run"},
};

/// The part a matrix plays. The mixes speak of these, not of names.
enum class Part { Output, TokenEmbedding, AttnValue, AttnKey, AttnOutput, FfnDown, Other };

/// Which layers (or models) a rule of a mix is for.
enum class When {
    Always,
    FirstTwo,        // layers 0 and 1
    FirstFour,       // layers 0 to 3
    FirstSixteenth,  // of the layers
    FirstEighth,     // of the layers
    Sensitive,       // the first and last eighth, and every third layer between
    WideGroups,      // four or more query heads share one key/value head, so attn_v is small
    Unguided,        // first eighth, and no importance matrix
    Guided,          // first eighth, with an importance matrix
};

/// "In this mix, this part gets this type when ...". The first rule that applies wins; else the recipe's
/// base.
struct MixRule {
    std::string_view recipe;
    Part part;
    When when;
    TensorType type;
};

constexpr MixRule kMix[] = {
    {"Q2_K", Part::AttnValue, When::WideGroups, Q4_K},
    {"Q2_K", Part::AttnValue, When::Always, Q3_K},
    {"Q2_K", Part::AttnOutput, When::Always, Q3_K},
    {"Q2_K", Part::FfnDown, When::Always, Q3_K},

    {"Q2_K_S", Part::AttnValue, When::WideGroups, Q4_K},
    {"Q2_K_S", Part::FfnDown, When::FirstEighth, Q4_K},

    {"Q3_K_M", Part::AttnValue, When::FirstTwo, Q5_K},
    {"Q3_K_M", Part::AttnValue, When::Always, Q4_K},
    {"Q3_K_M", Part::AttnOutput, When::Always, Q4_K},
    {"Q3_K_M", Part::FfnDown, When::FirstSixteenth, Q5_K},
    {"Q3_K_M", Part::FfnDown, When::Always, Q4_K},

    {"Q3_K_L", Part::AttnValue, When::Always, Q5_K},
    {"Q3_K_L", Part::AttnOutput, When::Always, Q5_K},
    {"Q3_K_L", Part::FfnDown, When::Always, Q5_K},

    {"Q4_K_S", Part::AttnValue, When::FirstFour, Q5_K},
    {"Q4_K_S", Part::FfnDown, When::FirstEighth, Q5_K},

    {"Q4_K_M", Part::AttnValue, When::Sensitive, Q6_K},
    {"Q4_K_M", Part::FfnDown, When::Sensitive, Q6_K},

    {"Q5_K_M", Part::AttnValue, When::Sensitive, Q6_K},
    {"Q5_K_M", Part::FfnDown, When::Sensitive, Q6_K},

    {"IQ4_NL", Part::AttnValue, When::WideGroups, Q5_K},
    {"IQ4_NL", Part::FfnDown, When::Unguided, Q5_K},
    {"IQ4_XS", Part::AttnValue, When::WideGroups, Q5_K},
    {"IQ4_XS", Part::FfnDown, When::Unguided, Q5_K},

    {"Q4_0", Part::FfnDown, When::Guided, Q4_1},
    {"Q5_0", Part::FfnDown, When::Guided, Q5_1},
};

/// Falcon's feed-forward and attention output bear fewer bits; these replace the rules above for those parts.
constexpr MixRule kFalconMix[] = {
    {"Q2_K", Part::FfnDown, When::Always, Q3_K},           {"Q2_K_S", Part::FfnDown, When::FirstEighth, Q4_K},
    {"Q3_K_M", Part::FfnDown, When::FirstSixteenth, Q5_K}, {"Q3_K_M", Part::FfnDown, When::Sensitive, Q4_K},
    {"Q3_K_L", Part::FfnDown, When::Always, Q4_K},         {"Q3_K_L", Part::AttnOutput, When::Always, Q4_K},
    {"Q4_K_M", Part::FfnDown, When::FirstSixteenth, Q6_K}, {"Q4_K_M", Part::FfnDown, When::Sensitive, Q5_K},
    {"Q5_K_M", Part::FfnDown, When::Sensitive, Q6_K},      {"IQ4_NL", Part::FfnDown, When::Unguided, Q5_K},
    {"IQ4_XS", Part::FfnDown, When::Unguided, Q5_K},       {"Q4_0", Part::FfnDown, When::Guided, Q4_1},
    {"Q5_0", Part::FfnDown, When::Guided, Q5_1},
};

/// With eight experts the attention is a sliver of the file: its output gets Q5_K in these mixes.
constexpr std::string_view kEightExpertsRaiseAttnOutput[] = {"Q2_K",   "Q3_K_S", "Q3_K_M", "Q4_K_S",
                                                             "Q4_K_M", "IQ4_NL", "IQ4_XS"};

/// What takes the place of a layout whose blocks do not divide the rows.
constexpr std::pair<TensorType, TensorType> kSmallerBlocks[] = {
    {Q2_K, Q4_0}, {Q3_K, Q4_0},     {Q4_K, Q5_0},  {Q5_K, Q5_1},
    {Q6_K, Q8_0}, {IQ4_XS, IQ4_NL}, {TQ1_0, Q4_0}, {TQ2_0, Q4_0},
};

/// Matrices too small or too sensitive to quantize, by a part of their name.
constexpr std::string_view kKeptAsFloat[] = {
    "_norm.weight",         // normalization
    "ffn_gate_inp.weight",  // routing of experts
    "ffn_gate_tid2eid",     // table of expert numbers
    "position_embd",        // learned positions
    "token_types.weight",   // BERT's segments
    "ssm_conv1d",           // short convolutions of state-space models
    "shortconv.conv.weight",
    "attn_rel_b.weight",  // T5's relative positions
    "altup",
    "laurel",
    "per_layer_model_proj",  // Gemma 3n
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",  // sparse attention's indexer
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",  // RWKV
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
};

bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

Part part_of(std::string_view name) {
    if (name == "output.weight") return Part::Output;
    if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") return Part::TokenEmbedding;
    if (contains(name, "attn_qkv.weight") || contains(name, "attn_kv_b.weight")) return Part::AttnValue;
    if (contains(name, "attn_v.weight")) return Part::AttnValue;
    if (contains(name, "attn_k.weight")) return Part::AttnKey;
    if (contains(name, "attn_output.weight")) return Part::AttnOutput;
    if (contains(name, "ffn_down")) return Part::FfnDown;
    return Part::Other;
}

/// 12 for "blk.12.attn_v.weight", -1 for tensors of no layer.
int64_t layer_of(std::string_view name) {
    constexpr std::string_view prefix = "blk.";
    if (!name.starts_with(prefix)) return -1;
    int64_t layer = -1;
    const char* end = name.data() + name.size();
    const auto [next, error] = std::from_chars(name.data() + prefix.size(), end, layer);
    return error == std::errc() && next != end && *next == '.' ? layer : -1;
}

/// Position of a tensor among its kind: `index` of `count`.
struct Place {
    int64_t index;
    int64_t count;
};

bool applies(When when, Place place, const ModelShape& model) {
    const auto [i, n] = place;
    switch (when) {
        case When::Always:
            return true;
        case When::FirstTwo:
            return i < 2;
        case When::FirstFour:
            return i < 4;
        case When::FirstSixteenth:
            return i < n / 16;
        case When::FirstEighth:
            return i < n / 8;
        case When::Sensitive:
            return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
        case When::WideGroups:
            return model.n_kv_heads > 0 && model.n_heads / model.n_kv_heads >= 4;
        case When::Unguided:
            return i < n / 8 && !model.has_importance;
        case When::Guided:
            return i < n / 8 && model.has_importance;
    }
    return false;
}

/// Llama 2 and 3 with 80 layers and grouped queries, and models of their size: attn_v is an eighth of attn_q.
bool is_70b(const ModelShape& model) {
    if (model.n_layers != 80) return false;
    if (model.architecture == "llama") return model.n_heads != model.n_kv_heads;
    return model.architecture == "qwen2" || model.architecture == "deci" || model.architecture == "olmo";
}

template <typename Rules>
TensorType by_rules(const Rules& rules, const Recipe& recipe, Part part, Place place,
                    const ModelShape& model) {
    for (const MixRule& rule : rules)
        if (rule.recipe == recipe.name && rule.part == part && applies(rule.when, place, model))
            return rule.type;
    return recipe.base;
}

/// The type that the mix wants, before the rows' length has its say.
TensorType wanted_type(const Recipe& recipe, Part part, Place place, const ModelShape& model) {
    const bool falcon = model.architecture == "falcon";
    const bool eight_experts = model.n_experts == 8;
    switch (part) {
        case Part::Output:
            return falcon || recipe.base == Q8_0 ? Q8_0 : Q6_K;
        case Part::AttnKey:
            return eight_experts ? Q8_0 : recipe.base;
        case Part::AttnValue: {
            if (eight_experts) return Q8_0;
            const TensorType type = by_rules(kMix, recipe, part, place, model);
            return is_70b(model) && (type == Q3_K || type == Q4_K) ? Q5_K : type;
        }
        case Part::AttnOutput:
            if (falcon) return by_rules(kFalconMix, recipe, part, place, model);
            if (eight_experts) {
                const bool raised = std::ranges::find(kEightExpertsRaiseAttnOutput, recipe.name) !=
                                    std::end(kEightExpertsRaiseAttnOutput);
                return raised ? Q5_K : recipe.base;
            }
            return by_rules(kMix, recipe, part, place, model);
        case Part::FfnDown:
            return falcon ? by_rules(kFalconMix, recipe, part, place, model)
                          : by_rules(kMix, recipe, part, place, model);
        case Part::TokenEmbedding:
            return recipe.base == TQ1_0 || recipe.base == TQ2_0 ? Q4_K : recipe.base;
        case Part::Other:
            break;
    }
    return recipe.base;
}

/// MXFP4 is for experts, of which a matrix holds many; a model without any has it in all its layers.
TensorType mxfp4_or_base(const Recipe& recipe, Part part, const TensorShape& tensor, bool has_experts) {
    const bool in_layers = part != Part::Output && part != Part::TokenEmbedding;
    return (has_experts ? tensor.n_dims > 2 : in_layers) ? MXFP4 : recipe.base;
}

bool divides(TensorType type, uint64_t row_elements) {
    return row_elements % info(type).block_elements == 0;
}

/// Replaces a layout whose blocks do not divide the rows, and says so.
TypeChoice fit_rows(TensorType wanted, Part part, const Recipe& recipe, uint64_t row_elements) {
    TensorType type = wanted;
    // The output matrix takes Q8_0 as soon as the recipe's own blocks do not fit: Q6_K's would not either.
    if (part == Part::Output && !divides(recipe.base, row_elements)) type = Q8_0;
    if (!divides(type, row_elements)) {
        for (const auto& [large, small] : kSmallerBlocks)
            if (large == type) {
                type = small;
                break;
            }
        if (!divides(type, row_elements)) type = F16;
    } else if (type == wanted) {
        return {type, {}, false};
    }
    if (!divides(type, row_elements)) type = F16;
    return {type,
            fmt::format("rows of {} are no multiple of {}: {} instead of {}", row_elements,
                        info(wanted).block_elements, name(type), name(wanted)),
            false};
}

}  // namespace

std::span<const Recipe> recipes() {
    return kRecipes;
}

const Recipe* find_recipe(std::string_view text) {
    std::string upper(text);
    std::ranges::transform(upper, upper.begin(), [](unsigned char c) { return char(std::toupper(c)); });
    if (upper == "Q3_K" || upper == "Q4_K" || upper == "Q5_K") upper += "_M";
    if (upper == "MXFP4_MOE") upper = kKeptMxfp4;
    const auto found = std::ranges::find(kRecipes, std::string_view(upper), &Recipe::name);
    return found == std::end(kRecipes) ? nullptr : found;
}

bool is_quantizable(const TensorShape& tensor) {
    if (tensor.n_dims < 2 || !tensor.name.ends_with("weight")) return false;
    return std::none_of(std::begin(kKeptAsFloat), std::end(kKeptAsFloat),
                        [&](std::string_view part) { return contains(tensor.name, part); });
}

std::vector<TypeChoice> choose_pure_types(const Recipe& recipe, const std::vector<TensorShape>& tensors) {
    const TensorType type = recipe.name == kKeptMxfp4 ? MXFP4 : recipe.base;
    std::vector<TypeChoice> choices(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
        if (is_quantizable(tensors[i])) {
            choices[i] = fit_rows(type, Part::Other, recipe, tensors[i].row_elements);
        } else {
            choices[i].type = F32;
        }
    }
    return choices;
}

std::vector<TypeChoice> choose_types(const Recipe& recipe, const ModelShape& model,
                                     const std::vector<TensorShape>& tensors) {
    // The mixes count tensors of a kind layer by layer, whatever their order in the source.
    std::vector<size_t> order(tensors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, {},
                      [&](size_t i) { return std::pair(layer_of(tensors[i].name), tensors[i].name); });

    const auto n_values =
        std::ranges::count_if(tensors, [](const auto& t) { return part_of(t.name) == Part::AttnValue; });
    const bool has_experts = std::ranges::any_of(tensors, [](const auto& t) { return t.n_dims > 2; });
    int64_t i_value = 0;
    int64_t i_down = 0;

    std::vector<TypeChoice> choices(tensors.size());
    for (const size_t i : order) {
        const TensorShape& tensor = tensors[i];
        if (!is_quantizable(tensor)) {
            choices[i].type = F32;
            continue;
        }
        if (!info(recipe.base).quantized) {
            choices[i].type = recipe.base;
            continue;
        }
        Part part = part_of(tensor.name);
        if (part == Part::TokenEmbedding && model.tied_output) part = Part::Output;

        Place place{0, 0};
        if (part == Part::AttnValue) place = {i_value++, n_values};
        if (part == Part::FfnDown) {
            const int64_t layer = layer_of(tensor.name);
            // A layer with experts may hold many such tensors: its number counts, not theirs.
            place = {model.n_experts > 1 && layer >= 0 ? layer : i_down, model.n_layers};
            ++i_down;
        }
        const TensorType wanted = recipe.name == kKeptMxfp4 ? mxfp4_or_base(recipe, part, tensor, has_experts)
                                                            : wanted_type(recipe, part, place, model);
        choices[i] = fit_rows(wanted, part, recipe, tensor.row_elements);
    }
    return choices;
}

}  // namespace ingot::converters

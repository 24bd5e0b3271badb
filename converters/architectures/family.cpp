#include "converters/architectures/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "converters/architectures/model_config.h"
#include "converters/architectures/tables.h"

namespace ingot::converters {

namespace {

bool contains(std::span<const std::string_view> list, std::string_view word) {
    return std::ranges::find(list, word) != list.end();
}

bool same_letters(std::string_view a, std::string_view b) {
    return std::ranges::equal(
        a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

std::string replaced(std::string_view pattern, std::string_view mark, uint64_t number) {
    std::string name(pattern);
    const size_t at = name.find(mark);
    if (at != std::string::npos) name.replace(at, mark.size(), std::to_string(number));
    return name;
}

/// Whether `name` is `pattern` with numbers for its marks.
bool matches(std::string_view name, std::string_view pattern) {
    while (!pattern.empty()) {
        if (pattern.front() == '{') {
            size_t digits = 0;
            while (digits < name.size() && std::isdigit(static_cast<unsigned char>(name[digits]))) ++digits;
            if (digits == 0) return false;
            name.remove_prefix(digits);
            pattern.remove_prefix(pattern.find('}') + 1);
            continue;
        }
        if (name.empty() || name.front() != pattern.front()) return false;
        name.remove_prefix(1);
        pattern.remove_prefix(1);
    }
    return name.empty();
}

struct Tower {
    std::string_view prefix, what;
};
constexpr Tower kTowers[] = {
    {"vision_tower.", "the vision tower"},
    {"vision_model.", "the vision tower"},
    {"visual.", "the vision tower"},
    {"vision_encoder.", "the vision tower"},
    {"embed_vision.", "the vision tower"},
    {"multi_modal_projector.", "the vision tower"},
    {"audio_tower.", "the audio tower"},
    {"embed_audio.", "the audio tower"},
    {"mtp.", "the heads that predict further tokens"},
};

}  // namespace

std::span<const Family* const> families() {
    static constexpr const Family* kFamilies[] = {
        &kLlama,    &kMistral,    &kQwen2,    &kQwen3,    &kGemma,     &kGemma2,    &kGemma3,
        &kPhi3,     &kGpt2,       &kMixtral,  &kQwen2Moe, &kQwen3Moe,  &kGptNeox,   &kPhi2,
        &kStableLm, &kStarCoder2, &kOlmo2,    &kGranite,  &kSmolLm3,   &kCohere,    &kCohere2,
        &kGptJ,     &kFalcon,     &kMpt,      &kBloom,    &kGptOss,    &kDeepSeek2, &kLlama4,
        &kGlm4,     &kMistral3,   &kMistral4, &kGemma4,   &kQwen3Next, &kQwen35,    &kQwen35Moe,
    };
    return kFamilies;
}

const Family* find_family(std::string_view class_name) {
    for (const Family* family : families()) {
        if (contains(family->classes, class_name)) return family;
    }
    return nullptr;
}

const Family* find_family_by_name(std::string_view name) {
    const auto is_it = [&](std::string_view word) { return same_letters(word, name); };
    const auto first = [](auto&& predicate) -> const Family* {
        const auto found = std::ranges::find_if(families(), predicate);
        return found == families().end() ? nullptr : *found;
    };
    if (const Family* family = first([&](const Family* f) { return is_it(f->name); })) return family;
    if (const Family* family = first([&](const Family* f) {
            return std::ranges::any_of(f->classes, is_it) || std::ranges::any_of(f->model_types, is_it);
        }))
        return family;
    return first([&](const Family* f) { return is_it(f->architecture); });
}

const Family* find_family(const Json& config) {
    const auto by_type = [](const Json& object) -> const Family* {
        const auto type = object.get_string("model_type");
        if (!type) return nullptr;
        for (const Family* family : families()) {
            if (contains(family->model_types, *type)) return family;
        }
        return nullptr;
    };
    const Json& text = text_config(config);
    if (&text != &config) {
        if (const Family* family = by_type(text)) return family;
    }
    const auto classes = config.get_strings("architectures");
    for (const std::string& name : classes) {
        if (const Family* family = find_family(name)) return family;
    }
    return classes.empty() ? by_type(config) : nullptr;
}

std::vector<const Family*> find_matching_families(const WeightSet& weights) {
    std::vector<std::pair<size_t, const Family*>> found;  // rules that apply, family
    for (const Family* family : families()) {
        const NameForm form(*family, weights);
        const auto is_there = [&](const TensorRule& rule) {
            return weights.find(form.actual(with_part(with_layer(rule.source, 0), 0))) != nullptr;
        };
        size_t n_there = 0;
        bool whole = true;
        for (size_t i = 0; i < family->tensors.size();) {
            bool there = false, required = false;
            const std::string_view target = family->tensors[i].target;
            for (; i < family->tensors.size() && family->tensors[i].target == target; ++i) {
                there |= is_there(family->tensors[i]);
                required |= family->tensors[i].required == always;
            }
            n_there += there;
            whole &= there || !required;
        }
        const bool covered = whole && std::ranges::all_of(weights.weights(), [&](const auto& weight) {
                                 const std::string_view own = form.own(weight.name);
                                 return own.empty() || is_unneeded(*family, weight.name) ||
                                        std::ranges::any_of(family->tensors, [&](const TensorRule& rule) {
                                            return rule.source.starts_with(family->prefix) &&
                                                   matches(own, rule.source.substr(family->prefix.size()));
                                        });
                             });
        if (covered) found.emplace_back(n_there, family);
    }
    std::ranges::stable_sort(found, std::greater<>(), &std::pair<size_t, const Family*>::first);
    std::vector<const Family*> result;
    for (const auto& [n, family] : found) result.push_back(family);
    return result;
}

std::string supported_classes() {
    std::vector<std::string_view> names;
    for (const Family* family : families())
        names.insert(names.end(), family->classes.begin(), family->classes.end());
    return fmt::format("{}", fmt::join(names, ", "));
}

std::string_view reason_left_out(std::string_view tensor) {
    if (tensor.starts_with("model.")) tensor.remove_prefix(6);
    for (const Tower& tower : kTowers) {
        if (tensor.starts_with(tower.prefix)) return tower.what;
    }
    return {};
}

bool is_unneeded(const Family& family, std::string_view tensor) {
    static constexpr std::string_view kSuffixes[] = {
        ".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".attn.bias",
        ".attn.masked_bias",    ".self_attn.bias",        ".attention.bias",        ".attention.masked_bias",
    };
    if (!reason_left_out(tensor).empty()) return true;
    if (std::ranges::any_of(kSuffixes, [&](auto suffix) { return tensor.ends_with(suffix); })) return true;
    return std::ranges::any_of(family.left_out, [&](auto part) { return tensor.find(part) != tensor.npos; });
}

std::string with_layer(std::string_view pattern, uint64_t layer) {
    return replaced(pattern, "{bid}", layer);
}
std::string with_part(std::string_view pattern, uint64_t part) {
    return replaced(pattern, "{xid}", part);
}

NameForm::NameForm(const Family& family, const WeightSet& weights) : prefix_(family.prefix) {
    const std::string own(prefix_);
    actual_prefix_ = own;
    const std::string_view embedding = family.tensors.front().source;
    for (const std::string& form :
         {own, "language_model." + own, own + "language_model.", std::string("model.language_model."),
          "text_model." + own, own + "text_model.", std::string("language_model."), std::string()}) {
        if (weights.find(form + std::string(embedding.substr(prefix_.size())))) {
            actual_prefix_ = form;
            break;
        }
    }
    for (const char* form : {"", "language_model.", "model.", "model.language_model."}) {
        const bool found = std::ranges::any_of(family.tensors, [&](const TensorRule& rule) {
            return !rule.source.starts_with(prefix_) && weights.find(form + std::string(rule.source));
        });
        if (!found) continue;
        outside_ = form;
        break;
    }
}

std::string NameForm::actual(std::string_view source) const {
    if (!source.starts_with(prefix_)) return outside_ + std::string(source);
    return actual_prefix_ + std::string(source.substr(prefix_.size()));
}

std::string_view NameForm::own(std::string_view actual) const {
    return actual.starts_with(actual_prefix_) ? actual.substr(actual_prefix_.size()) : std::string_view();
}

}  // namespace ingot::converters

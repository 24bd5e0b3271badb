#include "converters/quantize/type_rules.h"

#include <algorithm>
#include <functional>
#include <map>

#include "converters/quantize/quantize.h"
#include "format/error.h"
#include "format/name_pattern.h"

namespace ingot::converters {
namespace {

constexpr std::string_view kOutput = "output.weight", kEmbedding = "token_embd.weight";

bool divides(TensorType type, uint64_t row_elements) {
    return row_elements % info(type).block_elements == 0;
}

std::string names_of(const std::vector<TensorType>& types) {
    std::vector<std::string_view> names;
    for (const TensorType type : types) names.push_back(name(type));
    return fmt::format("{}", fmt::join(names, " "));
}

/// Applies the rules, one after the other, to the matrices that no earlier one has taken.
class Application {
  public:
    Application(const std::vector<TensorShape>& tensors, std::vector<TypeChoice>& choices, Findings& findings)
        : tensors_(tensors), choices_(choices), findings_(findings), taken_by_(tensors.size()) {}

    /// `what` names the rule in messages; `near` is what names are compared with when `matched` is empty.
    void apply(const std::string& what, std::string_view near, TensorType type,
               const std::vector<size_t>& matched, bool from_file = false) {
        std::vector<size_t> impossible;
        std::string earlier;  // the rule that has a tensor of this one
        size_t n_taken = 0;
        for (const size_t i : matched) {
            if (!is_quantizable(tensors_[i])) continue;
            if (!taken_by_[i].empty()) {
                earlier = taken_by_[i];
                continue;
            }
            taken_by_[i] = what;
            if (divides(type, tensors_[i].row_elements)) {
                choices_[i] = {type, {}, true};
                ++n_taken;
            } else {
                impossible.push_back(i);
            }
        }
        if (!impossible.empty()) return report_impossible(what, type, impossible);
        if (n_taken > 0) return;
        if (matched.empty()) return report_unmatched(what, near);
        if (!earlier.empty()) return report_shadowed(what, earlier, from_file);
        findings_.problem(what,
                          fmt::format("matches only tensors that are never quantized, such as {}",
                                      printable(tensors_[matched.front()].name)),
                          "vectors, norms and routers stay floats in every file; name other tensors");
    }

  private:
    void report_impossible(const std::string& what, TensorType type, const std::vector<size_t>& impossible) {
        const TensorShape& first = tensors_[impossible.front()];
        std::vector<TensorType> possible;
        for (const TensorType other : writable_types())
            if (divides(other, first.row_elements)) possible.push_back(other);
        findings_.problem(
            what,
            fmt::format("{}{} has rows of {}, no multiple of the {} that a block of {} holds",
                        printable(first.name),
                        impossible.size() > 1 ? fmt::format(" (like {} more)", impossible.size() - 1) : "",
                        first.row_elements, info(type).block_elements, name(type)),
            fmt::format("its rows can be {}", names_of(possible)));
    }

    void report_unmatched(const std::string& what, std::string_view near) {
        std::vector<std::string_view> names;
        for (const TensorShape& tensor : tensors_)
            if (is_quantizable(tensor)) names.push_back(tensor.name);
        findings_.problem(
            what, "matches no tensor of this model",
            fmt::format("the nearest names are {}", fmt::join(nearest_names(near, names), ", ")));
    }

    void report_shadowed(const std::string& what, const std::string& earlier, bool from_file) {
        const std::string message = fmt::format("all its tensors are taken by {}", earlier);
        if (from_file) return findings_.note(what, message);
        findings_.problem(what, message,
                          "the first rule that matches decides: put it before that one, or leave it out");
    }

    const std::vector<TensorShape>& tensors_;
    std::vector<TypeChoice>& choices_;
    Findings& findings_;
    std::vector<std::string> taken_by_;  // by tensor: the rule that decided, or empty
};

}  // namespace

std::vector<TensorType> writable_types() {
    std::vector<TensorType> types;
    for (const TensorTypeInfo& row : tensor_types())
        if (can_quantize(row.type)) types.push_back(row.type);
    std::ranges::stable_sort(types, {}, [](TensorType type) { return info(type).bits_per_element(); });
    return types;
}

TensorType parse_target_type(std::string_view text) {
    const std::optional<TensorType> type = parse_tensor_type(text);
    if (type && can_quantize(*type)) return *type;
    fail("{} is {}; the types of single tensors are {}", text.empty() ? "''" : printable(text),
         type ? "a type that cannot be written yet" : "no type of a tensor", names_of(writable_types()));
}

TypeRule parse_type_rule(std::string_view text) {
    const size_t at = text.rfind('=');
    if (at == text.npos || at == 0)
        fail("'{}' is no rule; write REGEX=TYPE, such as attn_v=Q6_K", printable(text));
    TypeRule rule{std::string(text.substr(0, at)), parse_target_type(text.substr(at + 1))};
    NamePattern{rule.pattern};  // throws when it is none
    return rule;
}

std::vector<TypeChoice> choose_types(const Recipe& recipe, const TypeRules& rules, const ModelShape& model,
                                     const std::vector<TensorShape>& tensors, Findings& findings) {
    std::vector<TypeChoice> choices =
        rules.pure ? choose_pure_types(recipe, tensors) : choose_types(recipe, model, tensors);
    Application application(tensors, choices, findings);
    std::map<std::string_view, size_t> places;  // a recipe may name every tensor: no search for each
    for (size_t i = 0; i < tensors.size(); ++i) places.emplace(tensors[i].name, i);
    const auto named = [&](std::string_view name) {
        const auto at = places.find(name);
        return at == places.end() ? std::vector<size_t>{} : std::vector<size_t>{at->second};
    };

    const std::string_view output = model.tied_output ? kEmbedding : kOutput;
    if (rules.output) application.apply("--output-type", output, *rules.output, named(output));
    if (rules.embedding)
        application.apply("--embedding-type", kEmbedding, *rules.embedding, named(kEmbedding));
    for (const TypeRule& rule : rules.rules) {
        const std::string what = fmt::format("rule {}={}", printable(rule.pattern), name(rule.type));
        findings.attempt(what, [&] {
            const NamePattern pattern(rule.pattern);
            std::vector<size_t> matched;
            for (size_t i = 0; i < tensors.size(); ++i)
                if (pattern.matches(tensors[i].name)) matched.push_back(i);
            application.apply(what, rule.pattern, rule.type, matched, rule.from_file);
        });
    }
    for (const auto& [tensor, type] : rules.tensors)
        application.apply(fmt::format("tensor {} of the recipe", printable(tensor)), tensor, type,
                          named(tensor),
                          /*from_file=*/true);
    return choices;
}

}  // namespace ingot::converters

#pragma once
// What a user asks for beyond a named mix: this type for those tensors. Nothing is ignored: a rule that no
// tensor follows, or that none can, is a problem before any work.
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "converters/findings.h"
#include "converters/quantize/recipe.h"

namespace ingot::converters {

/// "Every matrix in whose name this regular expression is found gets this type."
struct TypeRule {
    std::string pattern;
    TensorType type{};
    bool from_file = false;  // of a recipe file: what the command line says may take all its tensors
};

/// "REGEX=TYPE", cut at the last '='. Throws Error.
TypeRule parse_type_rule(std::string_view text);
/// A type by name, one that can be written. Throws Error naming those that can.
TensorType parse_target_type(std::string_view text);
/// Every type that can be written, in order of bits per weight.
std::vector<TensorType> writable_types();

/// The first of these that speaks of a matrix decides: `output` and `embedding`, then `rules` in their order
/// (the first that matches), then `tensors`, then the mix. Vectors, and matrices that every mix keeps as
/// floats (norms, routers), are none of their business.
struct TypeRules {
    std::optional<TensorType> output;     // output.weight, or the embedding that serves as it
    std::optional<TensorType> embedding;  // token_embd.weight
    std::vector<TypeRule> rules;
    std::vector<std::pair<std::string, TensorType>> tensors;  // by full name
    bool pure = false;  // the mix's base type for all matrices, without its exceptions

    bool empty() const { return !output && !embedding && rules.empty() && tensors.empty() && !pure; }
};

/// choose_types() of recipe.h, and what the rules change of it. What is wrong with a rule becomes a problem.
std::vector<TypeChoice> choose_types(const Recipe& recipe, const TypeRules& rules, const ModelShape& model,
                                     const std::vector<TensorShape>& tensors, Findings& findings);

}  // namespace ingot::converters

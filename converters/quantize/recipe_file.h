#pragma once
// A recipe as text: what decides the type of every tensor, to be saved, edited and used again. SPEC.md says
// what each member means; the same text stands in the files that were made by it.
#include <string>
#include <string_view>

#include "converters/quantize/type_rules.h"

namespace ingot::converters {

struct RecipeText {
    const Recipe* base = nullptr;  // null when a file leaves it out: then the command line names it
    TypeRules rules;
    std::string note;  // for people: where it comes from
};

/// JSON, ending in a line break.
std::string recipe_json(const RecipeText& recipe);
/// `name` stands for the file in messages. Throws Error for anything that is not in SPEC.md.
RecipeText parse_recipe(std::string_view json, const std::string& name);
/// A file of that text; or a GGUF file, whose recipe is taken, or the types of its tensors if it holds none.
RecipeText read_recipe(const std::string& path);

}  // namespace ingot::converters

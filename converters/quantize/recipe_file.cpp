#include "converters/quantize/recipe_file.h"

#include <algorithm>
#include <array>

#include "converters/sources/json.h"
#include "format/gguf_model.h"
#include "format/ingot_keys.h"
#include "format/json_writer.h"
#include "format/name_pattern.h"

namespace ingot::converters {
namespace {

constexpr uint64_t kVersion = 1;

/// Does `read`; its errors begin with the place.
template <typename Read>
auto at(const std::string& file, const std::string& place, const Read& read) {
    try {
        return read();
    } catch (const Error& error) {
        fail("{}: {}: {}", file, place, error.what());
    }
}

std::optional<TensorType> type_member(const Json& object, const char* key, const std::string& file) {
    const std::optional<std::string> text = object.get_string(key);
    if (!text) return {};
    return at(file, key, [&] { return parse_target_type(*text); });
}

template <size_t n>
void check_members(const Json& object, const std::array<std::string_view, n>& known, const std::string& file,
                   const std::string& place) {
    for (const auto& [key, value] : object.members()) {
        if (std::ranges::find(known, key) == known.end())
            fail("{}: {}{} is no member of a recipe; expected {}", file, place, printable(key),
                 fmt::join(known, ", "));
    }
}

TypeRule parse_rule(const Json& json, const std::string& file, size_t number) {
    const std::string place = fmt::format("rules[{}]", number);
    return at(file, place, [&] {
        if (json.kind() != Json::Kind::Object) fail("expected {{\"match\": REGEX, \"type\": TYPE}}");
        check_members(json, std::to_array<std::string_view>({"match", "type"}), file, place + ".");
        const auto pattern = json.get_string("match"), type = json.get_string("type");
        if (!pattern || !type) fail("expected both \"match\" and \"type\"");
        NamePattern{*pattern};  // throws when it is none
        return TypeRule{*pattern, parse_target_type(*type), true};
    });
}

/// The types that the matrices of a file have.
RecipeText recipe_of_tensors(const GgufHeader& header) {
    RecipeText recipe;
    for (const TensorInfo& tensor : header.tensors()) {
        const TensorShape shape{tensor.name, tensor.n_dims, tensor.shape[0], 1};
        if (!is_quantizable(shape)) continue;
        recipe.rules.tensors.emplace_back(tensor.name, parse_target_type(name(tensor.type)));
    }
    if (recipe.rules.tensors.empty()) fail("holds no matrices whose types could be taken");
    return recipe;
}

}  // namespace

std::string recipe_json(const RecipeText& recipe) {
    const TypeRules& rules = recipe.rules;
    JsonWriter json;
    json.begin_object().member("ingot_recipe", kVersion);
    if (!recipe.note.empty()) json.member("note", recipe.note);
    if (recipe.base) json.member("type", recipe.base->name);
    if (rules.pure) json.member("pure", true);
    if (rules.output) json.member("output", name(*rules.output));
    if (rules.embedding) json.member("embedding", name(*rules.embedding));
    if (!rules.rules.empty()) {
        json.key("rules").begin_array();
        for (const TypeRule& rule : rules.rules) {
            json.begin_object(JsonWriter::kOneLine).member("match", rule.pattern);
            json.member("type", name(rule.type)).end_object();
        }
        json.end_array();
    }
    if (!rules.tensors.empty()) {
        json.key("tensors").begin_object();
        for (const auto& [tensor, type] : rules.tensors) json.member(tensor, name(type));
        json.end_object();
    }
    return json.end_object().text() + "\n";
}

RecipeText parse_recipe(std::string_view text, const std::string& file) {
    const Json json = Json::parse(text, file);
    const std::optional<uint64_t> version = json.get_uint("ingot_recipe");
    if (!version) fail("{}: no member \"ingot_recipe\"; expected a recipe, as --save-recipe writes it", file);
    if (*version != kVersion)
        fail("{}: a recipe of form {}; this version reads form {}", file, *version, kVersion);
    check_members(json,
                  std::to_array<std::string_view>(
                      {"ingot_recipe", "note", "type", "pure", "output", "embedding", "rules", "tensors"}),
                  file, "");

    RecipeText recipe;
    if (const auto base = json.get_string("type")) {
        recipe.base = find_recipe(*base);
        if (!recipe.base)
            fail("{}: type: {} is no mix; `ingot convert --help` lists them", file, printable(*base));
    }
    recipe.note = json.get_string("note").value_or("");
    recipe.rules.pure = json.get_bool("pure").value_or(false);
    recipe.rules.output = type_member(json, "output", file);
    recipe.rules.embedding = type_member(json, "embedding", file);
    if (const Json* rules = json.find("rules")) {
        if (rules->kind() != Json::Kind::Array) fail("{}: rules: expected an array", file);
        for (const Json& rule : rules->elements())
            recipe.rules.rules.push_back(parse_rule(rule, file, recipe.rules.rules.size()));
    }
    if (const Json* tensors = json.get_object("tensors")) {
        for (const auto& [tensor, type] : tensors->members()) {
            recipe.rules.tensors.emplace_back(
                tensor, at(file, "tensors: " + printable(tensor),
                           [&, &type = type] { return parse_target_type(type.as_string()); }));
        }
    }
    return recipe;
}

RecipeText read_recipe(const std::string& path) {
    const MappedFile file{std::filesystem::path(path)};
    const auto bytes = file.bytes();
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!text.starts_with("GGUF")) return parse_recipe(text, path);
    const GgufModel model{std::filesystem::path(path)};
    const GgufHeader& header = model.header();
    return at(path, "as a recipe", [&] {
        if (const auto json = header.get_string(keys::kRecipeText))
            return parse_recipe(*json, std::string(keys::kRecipeText));
        if (const auto base = header.get_string(keys::kRecipe); base && find_recipe(*base))
            return RecipeText{find_recipe(*base), {}, {}};
        return recipe_of_tensors(header);
    });
}

}  // namespace ingot::converters

#include "cli/recipe_options.h"

#include "converters/quantize/recipe_file.h"
#include "format/error.h"
#include "format/output_file.h"

namespace ingot::cli {

using namespace converters;

namespace {

/// With a target, this mix stands in until the types are chosen.
constexpr const char* kTypeUntilChosen = "Q8_0";

}  // namespace

std::string recipe_names() {
    std::string text;
    size_t line = 0;
    for (const Recipe& recipe : recipes()) {
        if (line + recipe.name.size() > 76) {
            text += "\n ";
            line = 0;
        }
        text += fmt::format(" {}", recipe.name);
        line += recipe.name.size() + 1;
    }
    return text;
}

void add_recipe_options(Command& command, RecipeOptions& options, const std::string& default_type) {
    const auto known_type = [](const std::string& text) {
        if (find_recipe(text)) return std::string();
        return fmt::format("{} is no type; choose one of{}", text, recipe_names());
    };
    Option* type = command.add_option("-t,--type", options.type, "What to store the weights in; see below");
    type->type_name("TYPE")->check(known_type);
    command
        .add_option("--tensor-type", options.tensor_types,
                    "This type for matrices in whose name REGEX is found; of several, the first decides")
        ->type_name("REGEX=TYPE")
        ->one_value_each_time()
        ->check(parsed_by(parse_type_rule));
    const auto add_type = [&](const char* name, std::string& text, const char* help) {
        command.add_option(name, text, help)->type_name("TYPE")->check(parsed_by(parse_target_type));
    };
    add_type("--output-type", options.output_type, "Of the output matrix (or the embedding serving as it)");
    add_type("--embedding-type", options.embedding_type, "Of the token embedding");
    Option* pure =
        command.add_flag("--pure", options.pure, "One type for all matrices, without the mix's exceptions");
    Option* recipe =
        command.add_option("--recipe", options.recipe_file, "Types as this recipe, or this GGUF, has them");
    recipe->type_name("FILE");
    command.add_option("--save-recipe", options.save_file, "Write the recipe, to be edited and used again")
        ->type_name("FILE");
    add_target_options(command, options.target);
    for (const char* target : {"--target-size", "--target-bpw"})
        command.option(target)->excludes(type)->excludes(pure);
    command.on_read([&options, default_type] {
        const TargetOptions& target = options.target;
        if (!target.wanted() && !(target.types.empty() && target.text_file.empty() && target.n_tokens == 0))
            fail_required("--target-size or --target-bpw");
        if (target.n_tokens > 0 && target.text_file.empty()) fail_required("--target-text");
        if (!options.type.empty() || !options.recipe_file.empty()) return;
        if (target.wanted()) {
            options.type = kTypeUntilChosen;
        } else if (default_type.empty()) {
            fail_required("--type, --recipe or a target");
        } else {
            options.type = default_type;
        }
    });
}

void apply_recipe_options(const RecipeOptions& options, ConvertRequest& request) {
    RecipeText recipe;
    if (!options.recipe_file.empty()) recipe = read_recipe(options.recipe_file);
    if (!options.type.empty()) recipe.base = find_recipe(options.type);
    if (!recipe.base) fail("{}: names no mix (member \"type\"); name it with -t", options.recipe_file);
    TypeRules& rules = recipe.rules;
    std::vector<TypeRule> first;  // what the command line says goes before what the file says
    for (const std::string& text : options.tensor_types) first.push_back(parse_type_rule(text));
    rules.rules.insert(rules.rules.begin(), first.begin(), first.end());
    if (!options.output_type.empty()) rules.output = parse_target_type(options.output_type);
    if (!options.embedding_type.empty()) rules.embedding = parse_target_type(options.embedding_type);
    rules.pure |= options.pure;
    request.recipe = recipe.base;
    request.rules = std::move(rules);
    request.recipe_note = std::move(recipe.note);
}

void save_recipe(const ConvertRequest& request, const std::string& path) {
    const std::string text = recipe_json({request.recipe, request.rules, request.recipe_note});
    OutputFile file(path, text.size(), true);
    file.write_at(0, std::as_bytes(std::span(text)));
    file.commit();
}

}  // namespace ingot::cli

#pragma once
// The options of convert and quantize that say which type each tensor gets.
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/target.h"
#include "converters/request.h"
#include "format/error.h"

namespace ingot::cli {

struct RecipeOptions {
    std::string type;                       // -t: a mix; empty: the recipe file's
    std::vector<std::string> tensor_types;  // "REGEX=TYPE"
    std::string output_type, embedding_type;
    bool pure = false;
    std::string recipe_file, save_file;
    TargetOptions target;
};

/// Adds -t, --tensor-type, --output-type, --embedding-type, --pure, --recipe, --save-recipe, and those of a
/// target. Malformed types and rules are usage errors. Without `default_type`, a mix must be named somehow.
void add_recipe_options(Command& command, RecipeOptions& options, const std::string& default_type = {});

/// "F32 F16 BF16 Q8_0 …", in lines for a footer of --help.
std::string recipe_names();

/// Sets the request's recipe and rules. Throws Error when the recipe file is none.
void apply_recipe_options(const RecipeOptions& options, converters::ConvertRequest& request);
/// --save-recipe: writes what was asked for, or chosen. Replaces the file.
void save_recipe(const converters::ConvertRequest& request, const std::string& path);

}  // namespace ingot::cli

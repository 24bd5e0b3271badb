#pragma once
// --target-size and --target-bpw: the types are chosen, not named.
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/console.h"
#include "converters/quantize/target/target.h"
#include "format/json_writer.h"

namespace ingot::cli {

struct TargetOptions {
    std::string file_size;  // "4.5GiB"
    double bits_per_weight = 0;
    std::vector<std::string> types;
    std::string text_file;  // to measure divergences on
    int64_t n_tokens = 0;   // of it; 0: the default

    bool wanted() const { return !file_size.empty() || bits_per_weight > 0; }
};

/// Adds --target-size, --target-bpw, --target-types, --target-text and --target-tokens.
void add_target_options(Command& command, TargetOptions& options);

/// Chooses the types and makes `plan` the plan with them. `model`: the file that is run on the text, if there
/// is one (RunnableModel).
converters::TargetChoice choose_types_for(const TargetOptions& options, converters::ConversionPlan& plan,
                                          const converters::PlanAgain& plan_again, const std::string& model,
                                          int n_threads);

/// Tensor groups with their types and losses, and the curve of size and quality.
std::string target_text(const converters::ConversionPlan& plan, const converters::TargetChoice& choice,
                        const Painter& paint);
/// The member "target".
void write_target(const converters::ConversionPlan& plan, const converters::TargetChoice& choice,
                  JsonWriter& json);

}  // namespace ingot::cli

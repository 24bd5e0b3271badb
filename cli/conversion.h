#pragma once
// What `ingot convert` and `ingot quantize` share: the TYPE argument, running a plan, telling about it.
#include <string>

#include "cli/command.h"
#include "converters/convert.h"
#include "converters/plan.h"

namespace ingot::cli {

struct ConversionOptions {
    std::string input;
    std::string output;  // empty: the default name, in the current folder
    std::string type = "Q4_K_M";
    int n_threads = 0;
    bool dry_run = false;
    bool force = false;
    bool json = false;
};

/// Adds -t, --threads, --dry-run, --force and --json. -t is checked: an unknown type is a usage error.
void add_conversion_options(CLI::App& command, ConversionOptions& options);

/// "F32 F16 BF16 Q8_0 …", in lines for a footer of --help.
std::string recipe_names();

/// Carries out the plan (unless --dry-run) and prints what was done, for people or as JSON. Throws Exit with
/// 130 when it was interrupted.
void run_conversion(converters::ConversionPlan plan, const ConversionOptions& options, const char* label);

}  // namespace ingot::cli

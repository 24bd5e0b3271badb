#pragma once
// What `ingot convert` and `ingot quantize` share: their options, running a plan, checking the result.
#include <cstdint>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/recipe_options.h"
#include "converters/request.h"

namespace ingot::cli {

struct ConversionOptions {
    converters::ConvertRequest request;  // all but the recipe
    std::string output;                  // empty: the default name, in the current folder
    RecipeOptions recipe;
    std::vector<std::string> adapters;  // --lora: "DIR" or "DIR:scale"
    std::string split_size;             // "2G"; empty: one file
    std::string method = "fit";         // or "gptq"
    std::string calibration;            // its text
    int64_t calibration_chunks = 0;     // 0: all
    int64_t calibration_context = 0;    // tokens of a chunk; 0: the default
    int n_threads = 0;
    bool check = false;
    bool dry_run = false;
    bool verify = false;
    bool force = false;
    bool json = false;
};

/// Adds --check, --dry-run, --verify, --force, --json, --threads, --metadata and --split-max-size. A size
/// that is none is a usage error.
void add_conversion_options(Command& command, ConversionOptions& options);

/// "500M" and "2G" mean 10^6 and 10^9 as other tools have it, "512MiB" and "4.5GiB" powers of two; plain
/// numbers are bytes. Throws Error for anything else, and for zero.
uint64_t parse_size(const std::string& text);

/// Plans, and then checks (--check), shows (--dry-run) or carries out the plan, and prints what was done, for
/// people or as JSON. Throws Exit with 130 when it was interrupted, and with 1 when --check found problems or
/// --verify found damage.
void run_conversion(const ConversionOptions& options, const char* label);

}  // namespace ingot::cli

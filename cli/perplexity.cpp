#include "cli/command.h"

namespace ingot::cli {

void add_perplexity(CLI::App&) {}

}  // namespace ingot::cli

#include "cli/command.h"

namespace ingot::cli {

void add_bench(CLI::App&) {}

}  // namespace ingot::cli

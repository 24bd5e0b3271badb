#include "cli/command.h"

namespace ingot::cli {

void add_run(CLI::App&) {}

}  // namespace ingot::cli

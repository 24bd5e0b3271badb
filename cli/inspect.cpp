#include "cli/command.h"

namespace ingot::cli {

void add_inspect(CLI::App&) {}

}  // namespace ingot::cli

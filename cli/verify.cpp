#include "cli/command.h"

namespace ingot::cli {

void add_verify(CLI::App&) {}

}  // namespace ingot::cli

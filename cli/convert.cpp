#include "cli/command.h"

namespace ingot::cli {

void add_convert(CLI::App&) {}

}  // namespace ingot::cli

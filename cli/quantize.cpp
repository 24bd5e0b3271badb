#include "cli/command.h"

namespace ingot::cli {

void add_quantize(CLI::App&) {}

}  // namespace ingot::cli

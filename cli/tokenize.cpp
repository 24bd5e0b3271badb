#include "cli/command.h"

namespace ingot::cli {

void add_tokenize(CLI::App&) {}

}  // namespace ingot::cli

#pragma once
#include <atomic>

namespace ingot::cli {

/// Ctrl-C sets this flag; a second Ctrl-C ends the program at once. Long work polls it and stops cleanly.
extern std::atomic<bool> interrupted;

/// Installs the handlers: SIGINT and SIGTERM as above; SIGBUS on a mapped file that shrank names the file and
/// exits with 1; SIGPIPE ends the program quietly, as for any filter.
void install_signal_handlers();

}  // namespace ingot::cli

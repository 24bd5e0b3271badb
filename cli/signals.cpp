#include "cli/signals.h"

#include <csignal>
#include <cstring>

#include <unistd.h>

#include "format/mapped_file.h"

namespace ingot::cli {

std::atomic<bool> interrupted{false};

namespace {

void write_text(const char* text) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, std::strlen(text));
}

extern "C" void on_interrupt(int) {
    if (interrupted.exchange(true)) ::_exit(130);
}

extern "C" void on_bus_error(int, siginfo_t* information, void*) {
    if (const char* path = MappedFile::path_of_address(information->si_addr)) {
        write_text("ingot: error: ");
        write_text(path);
        write_text(
            ": the file shrank, or could not be read, while it was in use; restore it and run again\n");
        ::_exit(1);
    }
    std::signal(SIGBUS, SIG_DFL);
    ::raise(SIGBUS);
}

}  // namespace

void install_signal_handlers() {
    struct sigaction interrupt {};
    interrupt.sa_handler = on_interrupt;
    interrupt.sa_flags = SA_RESTART;
    sigaction(SIGINT, &interrupt, nullptr);
    sigaction(SIGTERM, &interrupt, nullptr);

    struct sigaction bus_error {};
    bus_error.sa_sigaction = on_bus_error;
    bus_error.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &bus_error, nullptr);
}

}  // namespace ingot::cli

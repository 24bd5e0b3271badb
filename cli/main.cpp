#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "cli/command.h"
#include "cli/signals.h"
#include "format/error.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

int run(int argc, char** argv) {
    using namespace ingot::cli;
    CLI::App program("Convert, inspect and run GGUF model files.", "ingot");
    program.require_subcommand(1);
    program.set_version_flag("--version", INGOT_VERSION);
    add_convert(program);
    add_quantize(program);
    add_inspect(program);
    add_verify(program);
    add_run(program);
    add_tokenize(program);
    add_perplexity(program);
    add_bench(program);
    try {
        program.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return program.exit(error) == 0 ? 0 : kUsage;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    ingot::cli::install_signal_handlers();
    try {
        return run(argc, argv);
    } catch (const ingot::cli::Exit& exit) {
        return exit.code;
    } catch (const ingot::Error& error) {
        fmt::print(stderr, "ingot: error: {}\n", error.what());
    } catch (const std::bad_alloc&) {
        fmt::print(stderr, "ingot: error: out of memory\n");
    } catch (const std::exception& error) {
        fmt::print(stderr, "ingot: error: {}\n", error.what());
    }
    return kFailed;
}

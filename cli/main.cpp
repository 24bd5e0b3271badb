#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <new>

#include "cli/command.h"
#include "cli/console.h"
#include "cli/signals.h"
#include "format/error.h"
#include "runtime/cpu/kernels.h"

namespace ingot::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

/// "ingot 0.1.0 (GCC 12.2.0, Release)" and the instruction sets that were found.
std::string version_text() {
    std::string sets;
    for (const runtime::cpu::Kernels* kernels : runtime::cpu::all_kernels()) {
        if (!kernels->supported()) continue;
        sets += fmt::format("{}{}", sets.empty() ? "" : ", ", kernels->name);
    }
    std::string used;
    try {
        used = runtime::cpu::kernels().name;
    } catch (const Error& error) {  // INGOT_ISA asks for what this machine lacks: say it, but do not fail
        used = fmt::format("none: {}", error.what());
    }
    return fmt::format("ingot {}\nbuild             {}, {}\ninstruction sets  {}; in use: {}", INGOT_VERSION,
                       INGOT_COMPILER, INGOT_BUILD_TYPE, sets, used);
}

/// An option's line names the option, what it takes and what it does; ranges, and what excludes what, are
/// told when somebody gets them wrong.
class HelpFormatter : public CLI::Formatter {
    std::string make_option_opts(const CLI::Option* option) const override {
        std::string type = option->get_type_size() == 0 ? "" : option->get_type_name();
        // What follows a colon are the checks, but for "DIR[:SCALE]".
        size_t end = type.find(':');
        while (end != std::string::npos && end > 0 && type[end - 1] == '[') end = type.find(':', end + 1);
        type.resize(std::min(end, type.size()));
        return (type.empty() ? "" : " " + type) + (option->get_required() ? " REQUIRED" : "");
    }
};

const char* const kExamples =
    "Examples:\n"
    "  ingot convert Llama-3.2-1B/ -t Q4_K_M          Hugging Face folder to quantized GGUF\n"
    "  ingot inspect Llama-3.2-1B-Q4_K_M.gguf         what is in it\n"
    "  ingot run Llama-3.2-1B-Q4_K_M.gguf -p \"Once\"   text out of it\n\n"
    "`ingot COMMAND --help` shows a command's options. Exit codes: 0 done, 1 failed, 2 wrong usage,\n"
    "130 interrupted.";

int run(int argc, char** argv) {
    CLI::App app("Convert, quantize, inspect and run GGUF model files.", "ingot");
    app.formatter(std::make_shared<HelpFormatter>());
    app.set_version_flag("--version", version_text, "Print version, build and instruction sets, and exit");
    Command program(&app);
    const auto set_color = [](const std::string& choice) {
        set_color_choice(choice == "always"  ? ColorChoice::Always
                         : choice == "never" ? ColorChoice::Never
                                             : ColorChoice::Auto);
    };
    program
        .add_option("--color", set_color,
                    "Colours: auto (on a terminal, unless NO_COLOR is set), always or never")
        ->check(one_of({"auto", "always", "never"}))
        ->type_name("WHEN")
        ->at_once();
    program.footer(kExamples);
    add_convert(program);
    add_quantize(program);
    add_export(program);
    add_inspect(program);
    add_diff(program);
    add_verify(program);
    add_edit(program);
    add_split(program);
    add_merge(program);
    add_pack(program);
    add_unpack(program);
    add_hash(program);
    add_run(program);
    add_tokenize(program);
    add_perplexity(program);
    add_imatrix(program);
    add_measure(program);
    add_bench(program);
    add_plan(program);
    for (CLI::App* command : app.get_subcommands({})) command->fallthrough();  // --color after a command
    app.require_subcommand(0, 1);

    try {
        app.parse(argc, argv);
        if (app.get_subcommands().empty()) {
            fmt::print(stderr, "{}", app.help());
            return kUsage;
        }
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }
    return 0;
}

int report(const char* message) {
    report_error(message);
    return kFailed;
}

}  // namespace
}  // namespace ingot::cli

int main(int argc, char** argv) {
    ingot::cli::install_signal_handlers();
    try {
        return ingot::cli::run(argc, argv);
    } catch (const ingot::cli::Exit& exit) {
        return exit.code;
    } catch (const std::bad_alloc&) {
        return ingot::cli::report("out of memory");
    } catch (const std::exception& error) {  // ingot::Error and whatever the libraries below us throw
        return ingot::cli::report(error.what());
    }
}

// Exit codes, help, version, colours: what all commands share.
#include "tests/cli/process.h"

#include <algorithm>

#include "tests/catch.h"

using namespace ingot::test;

namespace {

size_t lines_of(const std::string& text) {
    return size_t(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("exit codes: 0 for help and version, 2 for wrong usage, 1 for what failed") {
    CHECK(run_ingot({"--help"}).exit_code == 0);
    CHECK(run_ingot({"--version"}).exit_code == 0);
    CHECK(run_ingot({}).exit_code == 2);
    CHECK(run_ingot({"no-such-command"}).exit_code == 2);
    CHECK(run_ingot({"inspect"}).exit_code == 2);
    CHECK(run_ingot({"inspect", "a.gguf", "--no-such-option"}).exit_code == 2);
    CHECK(run_ingot({"inspect", "a.gguf", "--color", "sometimes"}).exit_code == 2);
    CHECK(run_ingot({"verify", "a.gguf", "--threads", "0"}).exit_code == 2);
    CHECK(run_ingot({"inspect", "/nonexistent/a.gguf"}).exit_code == 1);
}

TEST_CASE("wrong usage is explained on standard error, with nothing on standard output") {
    for (const auto& arguments :
         std::vector<std::vector<std::string>>{{}, {"no-such-command"}, {"inspect"}}) {
        const Outcome outcome = run_ingot(arguments);
        CHECK(outcome.out.empty());
        CHECK_FALSE(outcome.err.empty());
    }
}

TEST_CASE("--help of the program and of each command fits a screen and has an example") {
    const Outcome program = run_ingot({"--help"});
    CHECK(lines_of(program.out) <= 40);
    CHECK_THAT(program.out, ContainsSubstring("Examples:"));
    for (const char* command :
         {"convert", "quantize", "export", "inspect", "verify", "run", "tokenize", "perplexity", "bench"}) {
        CAPTURE(command);
        CHECK_THAT(program.out, ContainsSubstring(std::string("\n  ") + command));
        const Outcome help = run_ingot({command, "--help"});
        CHECK(help.exit_code == 0);
        CHECK(lines_of(help.out) <= 45);
        CHECK_THAT(help.out, ContainsSubstring("Example"));
        CHECK_THAT(help.out, ContainsSubstring(std::string("ingot ") + command));
    }
}

TEST_CASE("--version names the build and the instruction sets found") {
    const Outcome outcome = run_ingot({"--version"});
    CHECK_THAT(outcome.out, ContainsSubstring("ingot 0."));
    CHECK_THAT(outcome.out, ContainsSubstring("build "));
    CHECK_THAT(outcome.out, ContainsSubstring("scalar; in use: "));
    CHECK_THAT(run_ingot({"--version"}, {.variables = {"INGOT_ISA=scalar"}}).out,
               ContainsSubstring("in use: scalar"));
    const Outcome forced = run_ingot({"--version"}, {.variables = {"INGOT_ISA=abacus"}});
    CHECK(forced.exit_code == 0);
    CHECK_THAT(forced.out, ContainsSubstring("abacus"));
}

TEST_CASE("colours: none when piped, --color and NO_COLOR decide") {
    const std::string escape = "\x1b[";
    const std::string& model = demo_model("Q4_0");
    CHECK_THAT(run_ingot({"inspect", model}).out, !ContainsSubstring(escape));
    CHECK_THAT(run_ingot({"inspect", model, "--color", "always"}).out, ContainsSubstring(escape));
    CHECK_THAT(run_ingot({"--color=always", "inspect", model}).out, ContainsSubstring(escape));
    CHECK_THAT(run_ingot({"inspect", model, "--color=never"}).out, !ContainsSubstring(escape));
    CHECK_THAT(run_ingot({"inspect", "/nonexistent", "--color=always"}).err, ContainsSubstring(escape));
    CHECK_THAT(run_ingot({"inspect", "/nonexistent"}).err, !ContainsSubstring(escape));
}

TEST_CASE("a full disk behind standard output is an error, not silence") {
    if (!std::filesystem::exists("/dev/full")) return;
    const Outcome outcome = run_ingot({"inspect", demo_model("Q4_0")}, {.out_path = "/dev/full"});
    CHECK(outcome.exit_code == 1);
    CHECK_THAT(outcome.err, ContainsSubstring("cannot write to standard output"));
}

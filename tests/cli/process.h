#pragma once
// Runs the built program, as a user does.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/catch.h"
#include "tests/files.h"

namespace ingot::test {

struct Outcome {
    int exit_code = -1;  // 128 + n when signal n ended it
    std::string out, err;
};

/// What surrounds a run.
struct Surroundings {
    std::string input = {};                   // on standard input
    std::vector<std::string> variables = {};  // "NAME=value", added to the environment
    std::string out_path = {};                // takes standard output instead of Outcome::out ("/dev/full")
    int interrupt_after = 0;  // above zero: SIGINT that many milliseconds after the first output
};

/// Runs `ingot` with these arguments, as its user would.
inline Outcome run_ingot(const std::vector<std::string>& arguments, const Surroundings& surroundings = {}) {
    const TemporaryFolder folder;
    const std::string in = folder / "in", err = folder / "err";
    const std::string out = surroundings.out_path.empty() ? folder / "out" : surroundings.out_path;
    write_file(in, surroundings.input);
    if (surroundings.out_path.empty()) write_file(out, "");
    std::vector<std::string> all = {INGOT_BINARY};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& argument : all) argv.push_back(argument.data());
    argv.push_back(nullptr);

    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::dup2(::open(in.c_str(), O_RDONLY), STDIN_FILENO);
        ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
        ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDERR_FILENO);
        for (const std::string& variable : surroundings.variables) ::putenv(::strdup(variable.c_str()));
        ::execv(argv[0], argv.data());
        ::_exit(127);
    }
    if (surroundings.interrupt_after > 0) {
        int status = 0;
        const auto wait = [](int milliseconds) {
            std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
        };
        while (std::filesystem::file_size(out) == 0 && ::waitpid(child, &status, WNOHANG) == 0) wait(2);
        wait(surroundings.interrupt_after);
        ::kill(child, SIGINT);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    Outcome outcome;
    outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (surroundings.out_path.empty()) outcome.out = read_file(out);
    outcome.err = read_file(err);
    return outcome;
}

/// The shipped checkpoint as `ingot convert` writes it in a type, made once for all tests.
inline const std::string& demo_model(const std::string& type = "F32") {
    static const TemporaryFolder folder;
    static std::map<std::string, std::string> files;
    std::string& file = files[type];
    if (file.empty()) {
        file = folder / ("tolstoy-5m-" + type + ".gguf");
        const Outcome outcome =
            run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "-t", type, "-o", file});
        INFO(outcome.err);
        REQUIRE(outcome.exit_code == 0);
    }
    return file;
}

}  // namespace ingot::test

#pragma once
// Runs the program under test as its user would: arguments in, exit code and two streams out.
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern char** environ;

namespace ingot::program_test {

struct Outcome {
    int exit_code = -1;  // -1: ended by a signal
    int signal = 0;
    std::string out, err;
};

inline std::string read_text(const std::filesystem::path& path) {
    std::ifstream stream(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
}

/// A folder of its own, removed with everything in it at the end.
class Folder {
  public:
    Folder() {
        std::string pattern = (std::filesystem::temp_directory_path() / "ingot-cli-XXXXXX").string();
        path_ = ::mkdtemp(pattern.data());
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    std::string operator/(const std::string& name) const { return (path_ / name).string(); }

  private:
    std::filesystem::path path_;
};

/// `out_path`, where given, takes standard output ("/dev/full"). Variables are "NAME=value".
inline Outcome run_ingot(std::vector<std::string> arguments, const std::vector<std::string>& variables = {},
                         const std::string& out_path = {}) {
    const Folder folder;
    const std::string out_file = out_path.empty() ? folder / "out" : out_path, err_file = folder / "err";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out_file.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err_file.c_str(), O_WRONLY | O_CREAT, 0600);

    arguments.insert(arguments.begin(), INGOT_BINARY);
    std::vector<char*> argv, environment;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    for (char** variable = environ; *variable; ++variable) environment.push_back(*variable);
    std::vector<std::string> added = variables;
    for (std::string& variable : added) environment.insert(environment.begin(), variable.data());
    environment.push_back(nullptr);

    pid_t child = 0;
    Outcome outcome;
    const int failed = posix_spawn(&child, INGOT_BINARY, &actions, nullptr, argv.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) return outcome;
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
    if (out_path.empty()) outcome.out = read_text(out_file);
    outcome.err = read_text(err_file);
    return outcome;
}

/// A file that `ingot convert` wrote from the shipped checkpoint, made once for all tests.
inline const std::string& demo_model() {
    static const Folder folder;
    static const std::string path = [&] {
        const std::string file = folder / "tolstoy.gguf";
        run_ingot({"convert", INGOT_SOURCE_DIR "/tests/data/tolstoy-5m", "-t", "Q4_0", "-o", file});
        return file;
    }();
    return path;
}

}  // namespace ingot::program_test

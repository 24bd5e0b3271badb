#pragma once
// The command line as the commands see it. Behind it is CLI11, which is all templates and inline functions:
// in the file of every command it took most of the compiler's time, here it is compiled once.
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ingot::cli {

/// What is wrong with a value, in words; empty when nothing is. It may put the value into its usual form.
using Check = std::function<std::string(std::string& value)>;

/// Whole numbers from `least` to `most`.
Check in_range(int64_t least, int64_t most);
/// Numbers above zero.
Check positive();
/// One of these, in upper or lower case; becomes the one that is listed.
Check one_of(std::vector<std::string> names);
/// What `parse` takes; the Error that it throws says what is wrong.
Check parsed_by(std::function<void(const std::string& value)> parse);

/// Throw what is reported as wrong usage (exit code 2).
[[noreturn]] void fail_usage(const std::string& message);
[[noreturn]] void fail_usage(const std::string& option, const std::string& message);
/// "… is required".
[[noreturn]] void fail_required(const std::string& what);

/// An option or argument of a command. All functions return it again.
class Option {
  public:
    explicit Option(CLI::Option* option) : option_(option) {}

    Option* type_name(const std::string& name);  // in --help, for its value
    Option* required();
    Option* check(const Check& check);
    Option* needs(Option* other);
    Option* excludes(Option* other);
    Option* delimiter(char delimiter);  // between values that are given together
    Option* one_value_each_time();      // of those that take several: what follows it is no more of them
    Option* hidden();                   // from --help; another option's text tells of it
    Option* at_once();                  // takes effect before the options behind it are read

  private:
    friend class Command;
    CLI::Option* option_;
};

/// A command, or the program. What an option is bound to must outlive the parsing.
class Command {
  public:
    explicit Command(CLI::App* app) : app_(app) {}
    Command(const Command&) = delete;
    Command& operator=(const Command&) = delete;

    Command* add_command(const std::string& name, const std::string& help);

    /// "FILE" is an argument, "-o,--output" an option. Values that cannot be read as the type are usage
    /// errors.
    Option* add_option(const std::string& name, std::string& value, const std::string& help);
    Option* add_option(const std::string& name, std::optional<std::string>& value, const std::string& help);
    Option* add_option(const std::string& name, std::vector<std::string>& values, const std::string& help);
    Option* add_option(const std::string& name, int& value, const std::string& help);
    Option* add_option(const std::string& name, int64_t& value, const std::string& help);
    Option* add_option(const std::string& name, std::vector<int64_t>& values, const std::string& help);
    Option* add_option(const std::string& name, uint64_t& value, const std::string& help);
    Option* add_option(const std::string& name, std::optional<uint64_t>& value, const std::string& help);
    Option* add_option(const std::string& name, float& value, const std::string& help);
    Option* add_option(const std::string& name, double& value, const std::string& help);
    Option* add_option(const std::string& name, std::function<void(const std::string& value)> set,
                       const std::string& help);
    Option* add_flag(const std::string& name, bool& value, const std::string& help);

    /// One of this command's, by a name that it was added with.
    Option* option(const std::string& name);

    void footer(const std::string& text);  // of --help
    /// Called when the options of this command have been read and checked; may fail_usage().
    void on_read(std::function<void()> function);
    /// Called when the whole line has been read: does what the command is there for.
    void callback(std::function<void()> function);

  private:
    Option* keep(CLI::Option* option) { return &options_.emplace_back(option); }

    CLI::App* app_;
    std::deque<Command> commands_;
    std::deque<Option> options_;
};

}  // namespace ingot::cli

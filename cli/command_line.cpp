#include "cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <charconv>

#include "format/error.h"

namespace ingot::cli {
namespace {

/// A check whose words stay out of --help.
CLI::Validator validator(const Check& check) {
    return CLI::Validator("").operation([check](std::string& value) { return check(value); });
}

}  // namespace

Check in_range(int64_t least, int64_t most) {
    return [least, most](std::string& value) {
        int64_t number = 0;
        const char* const end = value.data() + value.size();
        const auto [stop, error] = std::from_chars(value.data(), end, number);
        const bool is_good = error == std::errc() && stop == end && least <= number && number <= most;
        return is_good ? std::string()
                       : fmt::format("{} is no whole number from {} to {}", value, least, most);
    };
}

Check positive() {
    return [](std::string& value) {
        double number = 0;
        const bool is_good = CLI::detail::lexical_cast(value, number) && number > 0;
        return is_good ? std::string() : fmt::format("{} is no number above 0", value);
    };
}

Check one_of(std::vector<std::string> names) {
    return [names = std::move(names)](std::string& value) {
        for (const std::string& name : names) {
            if (CLI::detail::to_lower(name) != CLI::detail::to_lower(value)) continue;
            value = name;
            return std::string();
        }
        return fmt::format("{} is none of {}", value, fmt::join(names, ", "));
    };
}

Check parsed_by(std::function<void(const std::string&)> parse) {
    return [parse = std::move(parse)](std::string& value) {
        try {
            parse(value);
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string();
    };
}

void fail_usage(const std::string& message) {
    throw CLI::ValidationError(message);
}
void fail_usage(const std::string& option, const std::string& message) {
    throw CLI::ValidationError(option, message);
}
void fail_required(const std::string& what) {
    throw CLI::RequiredError(what);
}

// ---- options ---------------------------------------------------------------------------------------------

Option* Option::type_name(const std::string& name) {
    option_->type_name(name);
    return this;
}
Option* Option::required() {
    option_->required();
    return this;
}
Option* Option::check(const Check& check) {
    option_->check(validator(check));
    return this;
}
Option* Option::needs(Option* other) {
    option_->needs(other->option_);
    return this;
}
Option* Option::excludes(Option* other) {
    option_->excludes(other->option_);
    return this;
}
Option* Option::delimiter(char delimiter) {
    option_->delimiter(delimiter);
    return this;
}
Option* Option::one_value_each_time() {
    option_->allow_extra_args(false);
    return this;
}
Option* Option::hidden() {
    option_->group("");
    return this;
}
Option* Option::at_once() {
    option_->trigger_on_parse();
    return this;
}

// ---- commands --------------------------------------------------------------------------------------------

Command* Command::add_command(const std::string& name, const std::string& help) {
    return &commands_.emplace_back(app_->add_subcommand(name, help));
}

Option* Command::add_option(const std::string& name, std::string& value, const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, std::optional<std::string>& value,
                            const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, std::vector<std::string>& values,
                            const std::string& help) {
    return keep(app_->add_option(name, values, help));
}
Option* Command::add_option(const std::string& name, int& value, const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, int64_t& value, const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, std::vector<int64_t>& values, const std::string& help) {
    return keep(app_->add_option(name, values, help));
}
Option* Command::add_option(const std::string& name, uint64_t& value, const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, std::optional<uint64_t>& value,
                            const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, float& value, const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, double& value, const std::string& help) {
    return keep(app_->add_option(name, value, help));
}
Option* Command::add_option(const std::string& name, std::function<void(const std::string&)> set,
                            const std::string& help) {
    return keep(app_->add_option_function<std::string>(name, set, help));
}
Option* Command::add_flag(const std::string& name, bool& value, const std::string& help) {
    return keep(app_->add_flag(name, value, help));
}

Option* Command::option(const std::string& name) {
    return keep(app_->get_option(name));
}

void Command::footer(const std::string& text) {
    app_->footer(text);
}
void Command::on_read(std::function<void()> function) {
    app_->parse_complete_callback(std::move(function));
}
void Command::callback(std::function<void()> function) {
    app_->callback(std::move(function));
}

}  // namespace ingot::cli

#pragma once
#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ingot {

/// What every boundary of Ingot throws (files, input, devices). The message says what was found, what was
/// expected, where (file, byte offset or tensor) and what to do. Libraries never print, abort or exit.
class Error : public std::runtime_error {
  public:
    explicit Error(const std::string& message) : std::runtime_error(message) {}
};

/// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// A number as people read it: 8454144 -> "8,454,144".
std::string grouped(uint64_t number);

/// A name from a file, fit for a message: shortened to some 100 bytes, control characters escaped ("\x1b").
std::string printable(std::string_view name);

}  // namespace ingot

#pragma once
// One cheap look at a JSON text before a parser spends memory on it.
#include <cstdint>
#include <string_view>

namespace ingot::converters {

/// How much there is outside of strings. Of valid JSON exact, of anything else an upper bound of what a
/// parser would see.
struct JsonScan {
    uint64_t n_structurals = 0;  // brackets, braces, commas, colons; the number of values is at most one more
    uint64_t depth = 0;          // levels of nesting
};

/// Linear, no memory.
JsonScan scan_json(std::string_view text);

}  // namespace ingot::converters

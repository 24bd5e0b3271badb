#pragma once
// Metadata values as text for people.
#include <cstddef>
#include <string>
#include <string_view>

#include "format/gguf.h"

namespace ingot::inspect {

struct TextLimits {
    size_t max_text_columns = 80;  // of one string, escapes written out
    size_t max_elements = 6;       // of one array

    static constexpr TextLimits none() { return {size_t(-1), size_t(-1)}; }
};

/// Text from a file, safe to show: control characters, bidirectional overrides and malformed UTF-8 are
/// spelled out (\n, \x1b, \u202e, \xff), so that no file can drive a terminal. Cut with "…" where it would
/// take more than `max_columns` columns, counting one for each code point.
std::string escaped(std::string_view text, size_t max_columns = size_t(-1));

/// "uint32", "string", "array of float32".
std::string type_text(const Value& value);

/// One line: `llama`, `10000`, `true`, `[1, 2, 3, … 32,000 in all]`. Strings inside arrays are quoted.
std::string value_text(const Value& value, const TextLimits& limits = {});

}  // namespace ingot::inspect

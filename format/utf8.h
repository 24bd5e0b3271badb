#pragma once
#include <cstdint>
#include <string_view>

namespace ingot {

/// One step through a text that may or may not be UTF-8.
struct Utf8Step {
    char32_t code_point;   // U+FFFD when not valid
    uint8_t length_bytes;  // 1–4; of a malformed sequence, its longest prefix that could have become valid
    bool valid;            // shortest form, no surrogates, at most U+10FFFF
};

/// The code point at the front of `text`, which must not be empty. O(1). Splitting malformed text this way is
/// what the Unicode Standard recommends (chapter 3.9, "maximal subparts") and what Python's decoder does.
Utf8Step utf8_step(std::string_view text);

bool is_utf8(std::string_view text);

}  // namespace ingot

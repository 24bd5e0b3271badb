#pragma once
// What the names in tokenizer.ggml.pre mean (SPEC.md, section 3): how byte-level vocabularies cut text into
// pieces before they merge bytes. Shared by those who write the name and those who read it.
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

struct PreRule {
    std::vector<std::string_view> names;     // all mean the same; the first is the one to write
    std::vector<std::string_view> patterns;  // PCRE2 syntax; each cuts the pieces of the one before
    bool ignore_merges = false;              // a piece that is a token as a whole is that token
    bool add_bos = false;                    // where tokenizer.ggml.add_bos_token is absent
    /// How tokens write text: bytes as characters (GPT-2's alphabet); or as it is, with ▁ for spaces, or with
    /// no spaces at all.
    enum class Text { Bytes, SpaceMarks, Words } text = Text::Bytes;
};

/// Every rule that has a name. Immutable, lives forever.
const std::vector<PreRule>& pre_rules();
/// The rule of that name, or null.
const PreRule* find_pre_rule(std::string_view name);

/// GPT-2's pattern, which tokenizer.json implies by `"type": "ByteLevel", "use_regex": true`.
extern const std::string_view kGpt2Pattern;

/// `pattern` in the notation of this table: characters beyond ASCII as \x{hex}, control characters as \r, \n,
/// \t or \x{hex}. Patterns that differ only in this are equal after it.
std::string canonical_pattern(std::string_view pattern);

}  // namespace ingot

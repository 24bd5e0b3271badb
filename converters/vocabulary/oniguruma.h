#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace ingot::converters {

/// A regular expression of tokenizer.json (Oniguruma, Ruby's syntax) in PCRE2's syntax. They agree but for a
/// few things, of which these are rewritten:
///     [A&&[^B]]   characters of A that are not in B   →  (?:(?![B])[A])
///     [a[bc]]     a class in a class                  →  [abc]
///     ^ and $     at every line                       →  (?m:^) and (?m:$)
///     \h and (?m  hexadecimal digits; any character   →  [0-9a-fA-F] and (?s
/// Nothing when the expression uses something else in which they differ.
std::optional<std::string> pcre2_pattern(std::string_view oniguruma);
/// The way back, of what pcre2_pattern() makes: classes stay as they are, both read them alike.
std::string oniguruma_pattern(std::string_view pcre2);

}  // namespace ingot::converters

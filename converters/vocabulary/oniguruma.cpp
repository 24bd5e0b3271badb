#include "converters/vocabulary/oniguruma.h"

#include <fmt/format.h>

#include <vector>

namespace ingot::converters {
namespace {

/// The end of the class that starts with '[' at `begin`: one past its ']'. npos when it never ends.
size_t class_end(std::string_view text, size_t begin) {
    size_t at = begin + 1;
    if (at < text.size() && text[at] == '^') ++at;
    if (at < text.size() && text[at] == ']') ++at;  // a first ']' stands for itself
    while (at < text.size()) {
        if (text[at] == '\\') {
            at += 2;
        } else if (text[at] == '[') {
            at = class_end(text, at);
            if (at == std::string_view::npos) return at;
        } else if (text[at++] == ']') {
            return at;
        }
    }
    return std::string_view::npos;
}

bool has_nested_class(std::string_view set) {  // without the outer brackets
    for (size_t at = 0; at < set.size(); at += set[at] == '\\' ? 2 : 1) {
        if (set[at] == '[' && !set.substr(at).starts_with("[:")) return true;
    }
    return false;
}

/// The operands of && in the inside of a class.
std::vector<std::string_view> operands(std::string_view inside) {
    std::vector<std::string_view> parts;
    size_t begin = 0;
    for (size_t at = 0; at < inside.size();) {
        if (inside[at] == '\\') {
            at += 2;
        } else if (inside[at] == '[') {
            at = class_end(inside, at);
            if (at == std::string_view::npos) break;
        } else if (inside.substr(at).starts_with("&&")) {
            parts.push_back(inside.substr(begin, at - begin));
            begin = at += 2;
        } else {
            ++at;
        }
    }
    parts.push_back(inside.substr(begin));
    return parts;
}

/// One class, brackets included.
std::optional<std::string> rewrite_class(std::string_view text) {
    const std::string_view inside = text.substr(1, text.size() - 2);
    const std::vector<std::string_view> parts = operands(inside);
    if (parts.size() == 1) return has_nested_class(inside) ? std::nullopt : std::optional(std::string(text));
    if (inside.starts_with('^')) return {};
    std::string first, conditions;
    for (const std::string_view part : parts) {
        const bool bracketed = part.starts_with('[') && class_end(part, 0) == part.size();
        const std::string_view set = bracketed ? part.substr(1, part.size() - 2) : part;
        if (set.empty() || has_nested_class(set)) return {};
        if (first.empty()) {
            first = fmt::format("[{}]", set);
        } else if (set.starts_with('^')) {
            conditions += fmt::format("(?![{}])", set.substr(1));
        } else {
            conditions += fmt::format("(?=[{}])", set);
        }
    }
    return fmt::format("(?:{}{})", conditions, first);
}

}  // namespace

std::optional<std::string> pcre2_pattern(std::string_view oniguruma) {
    std::string pattern;
    for (size_t at = 0; at < oniguruma.size();) {
        const char c = oniguruma[at];
        if (c == '\\' && at + 1 < oniguruma.size()) {
            // Escapes that mean something else to PCRE2, or nothing.
            if (std::string_view("hHRXKuyYNOgkw").find(oniguruma[at + 1]) != std::string_view::npos)
                return {};
            pattern += oniguruma.substr(at, 2);
            at += 2;
        } else if (c == '[') {
            const size_t end = class_end(oniguruma, at);
            if (end == std::string_view::npos) return {};
            const auto rewritten = rewrite_class(oniguruma.substr(at, end - at));
            if (!rewritten) return {};
            pattern += *rewritten;
            at = end;
        } else if (c == '^' || c == '$') {
            pattern += c == '^' ? "(?m:^)" : "(?m:$)";
            ++at;
        } else if (oniguruma.substr(at).starts_with("(?m") || oniguruma.substr(at).starts_with("(?~")) {
            return {};
        } else {
            pattern += c;
            ++at;
        }
    }
    return pattern;
}

}  // namespace ingot::converters

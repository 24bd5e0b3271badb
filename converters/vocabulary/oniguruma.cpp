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

/// The inside of a class with the classes in it taken apart: a[bc] → abc. Nothing where one is negated.
std::optional<std::string> flattened(std::string_view set) {
    std::string flat;
    for (size_t at = 0; at < set.size();) {
        if (set[at] == '\\') {
            if (at + 1 < set.size() && (set[at + 1] == 'h' || set[at + 1] == 'H')) {
                if (set[at + 1] == 'H') return {};
                flat += "0-9a-fA-F";
            } else {
                flat += set.substr(at, 2);
            }
            at += 2;
        } else if (set[at] == '[' && !set.substr(at).starts_with("[:")) {
            const size_t end = class_end(set, at);
            if (end == std::string_view::npos || set.substr(at).starts_with("[^")) return {};
            const std::string_view inner = set.substr(at + 1, end - at - 2);
            if (inner.find("&&") != std::string_view::npos) return {};
            const auto part = flattened(inner);
            if (!part) return {};
            flat += *part;
            at = end;
        } else {
            flat += set[at++];
        }
    }
    return flat;
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
    if (parts.size() == 1) {
        const auto flat = flattened(inside);
        return flat ? std::optional(fmt::format("[{}]", *flat)) : std::nullopt;
    }
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

/// Bytes of "(?" and the flags after it, where `text` begins with such. Ruby's m is everyone's s: a dot is
/// any character.
size_t n_flag_bytes(std::string_view text) {
    if (!text.starts_with("(?")) return 0;
    const size_t end = text.find_first_not_of("imx-", 2);
    const bool has_flags = end != std::string_view::npos && end > 2 && (text[end] == ':' || text[end] == ')');
    return has_flags ? end : 0;
}

}  // namespace

std::optional<std::string> pcre2_pattern(std::string_view oniguruma) {
    std::string pattern;
    for (size_t at = 0; at < oniguruma.size();) {
        const char c = oniguruma[at];
        if (c == '\\' && at + 1 < oniguruma.size()) {
            const char escaped = oniguruma[at + 1];
            // Escapes that mean something else to PCRE2, or nothing.
            if (std::string_view("KuyYNOgkBGzZA").find(escaped) != std::string_view::npos) {
                if (escaped != 'u' || oniguruma.size() - at < 6) return {};
                pattern += fmt::format("\\x{{{}}}", oniguruma.substr(at + 2, 4));
                at += 6;
                continue;
            }
            if (escaped == 'h' || escaped == 'H') {  // hexadecimal digits, and others
                pattern += escaped == 'h' ? "[0-9a-fA-F]" : "[^0-9a-fA-F]";
            } else {
                pattern += oniguruma.substr(at, 2);
            }
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
        } else if (oniguruma.substr(at).starts_with("(?~")) {
            return {};
        } else if (const size_t n = n_flag_bytes(oniguruma.substr(at)); n > 0) {
            for (const char flag : oniguruma.substr(at, n)) pattern += flag == 'm' ? 's' : flag;
            at += n;
        } else {
            pattern += c;
            ++at;
        }
    }
    return pattern;
}

std::string oniguruma_pattern(std::string_view pcre2) {
    std::string pattern;
    for (size_t at = 0; at < pcre2.size();) {
        const std::string_view rest = pcre2.substr(at);
        const size_t flags_end = rest.starts_with("(?") ? rest.find_first_not_of("imsx-", 2) : 0;
        if (rest.starts_with("(?m:^)") || rest.starts_with("(?m:$)")) {
            pattern += rest[4];
            at += 6;
        } else if (rest[0] == '\\') {
            pattern += rest.substr(0, 2);
            at += 2;
        } else if (flags_end > 2 && flags_end < rest.size() &&
                   (rest[flags_end] == ':' || rest[flags_end] == ')')) {
            for (const char flag : rest.substr(0, flags_end)) pattern += flag == 's' ? 'm' : flag;
            at += flags_end;
        } else {
            pattern += rest[0];
            ++at;
        }
    }
    return pattern;
}

}  // namespace ingot::converters

#include "inspect/value_text.h"

#include <fmt/format.h>

#include <iterator>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot::inspect {

namespace {

bool drives_a_terminal(char32_t c) {
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) ||         // C0, DEL, C1
           (c >= 0x200e && c <= 0x200f) || c == 0x061c ||  // direction marks
           (c >= 0x2028 && c <= 0x202e) ||                 // line and paragraph ends, embeddings, overrides
           (c >= 0x2066 && c <= 0x2069);                   // isolates
}

void append_escaped(std::string& out, char32_t c) {
    switch (c) {
        case '\n':
            out += "\\n";
            break;
        case '\r':
            out += "\\r";
            break;
        case '\t':
            out += "\\t";
            break;
        default:
            if (c < 0x80) {
                fmt::format_to(std::back_inserter(out), "\\x{:02x}", uint32_t(c));
            } else {
                fmt::format_to(std::back_inserter(out), "\\u{:04x}", uint32_t(c));
            }
    }
}

void append_value(std::string& out, const Value& value, const TextLimits& limits, bool quoted) {
    switch (value.type()) {
        case ValueType::String: {
            const std::string text = escaped(value.as_string(), limits.max_text_columns);
            if (quoted) out += '"';
            for (const char c : text) {
                if (quoted && c == '"') out += '\\';
                out += c;
            }
            if (quoted) out += '"';
            return;
        }
        case ValueType::Bool:
            out += value.as_bool() ? "true" : "false";
            return;
        case ValueType::Float32:
            out += fmt::format("{}", float(value.as_float()));
            return;
        case ValueType::Float64:
            out += fmt::format("{}", value.as_float());
            return;
        case ValueType::Uint8:
        case ValueType::Uint16:
        case ValueType::Uint32:
        case ValueType::Uint64:
            out += fmt::format("{}", value.as_uint());
            return;
        case ValueType::Int8:
        case ValueType::Int16:
        case ValueType::Int32:
        case ValueType::Int64:
            out += fmt::format("{}", value.as_int());
            return;
        case ValueType::Array:
            break;
    }
    out += '[';
    size_t shown = 0;
    for (const Value element : value.elements()) {
        if (shown == limits.max_elements) {
            out += fmt::format(", … {} in all", grouped(value.count()));
            break;
        }
        if (shown++ > 0) out += ", ";
        append_value(out, element, limits, true);
    }
    out += ']';
}

}  // namespace

std::string escaped(std::string_view text, size_t max_columns) {
    std::string out;
    size_t columns = 0;
    size_t cut_at = 0;  // bytes of `out` that leave a column for "…"
    while (!text.empty()) {
        const Utf8Step step = utf8_step(text);
        const std::string_view bytes = text.substr(0, step.length_bytes);
        text.remove_prefix(step.length_bytes);
        const size_t start = out.size();
        if (!step.valid) {
            for (const char byte : bytes) fmt::format_to(std::back_inserter(out), "\\x{:02x}", uint8_t(byte));
            columns += out.size() - start;
        } else if (drives_a_terminal(step.code_point)) {
            append_escaped(out, step.code_point);
            columns += out.size() - start;
        } else {
            out += bytes;
            columns += 1;
        }
        if (columns > max_columns) return out.substr(0, cut_at) + "…";
        if (columns < max_columns) cut_at = out.size();
    }
    return out;
}

std::string type_text(const Value& value) {
    if (value.type() != ValueType::Array) return std::string(name(value.type()));
    return fmt::format("array of {}", name(value.element_type()));
}

std::string value_text(const Value& value, const TextLimits& limits) {
    std::string out;
    append_value(out, value, limits, false);
    return out;
}

}  // namespace ingot::inspect

#include "format/json_writer.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "format/utf8.h"

namespace ingot {

JsonWriter& JsonWriter::key(std::string_view name) {
    separate();
    quote(name);
    text_ += ": ";
    after_key_ = true;
    return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) {
    separate();
    quote(text);
    return *this;
}

namespace {

/// Always recognisable as a floating-point number, so that -0 keeps its sign and a reader its type: "-0.0",
/// "1e+30".
template <typename Float>
std::string float_text(Float number) {
    if (!std::isfinite(number)) return "null";
    std::string text = fmt::format("{}", number);
    if (text.find_first_of(".e") == std::string::npos) text += ".0";
    return text;
}

}  // namespace

JsonWriter& JsonWriter::value(float number) {
    return raw(float_text(number));
}

JsonWriter& JsonWriter::value(double number) {
    return raw(float_text(number));
}

JsonWriter& JsonWriter::integer(int64_t number) {
    return raw(fmt::format_int(number).c_str());
}

JsonWriter& JsonWriter::integer(uint64_t number) {
    return raw(fmt::format_int(number).c_str());
}

JsonWriter& JsonWriter::raw(std::string_view encoded) {
    separate();
    text_ += encoded;
    return *this;
}

JsonWriter& JsonWriter::begin(char opening, char closing, Layout layout) {
    separate();
    text_ += opening;
    const bool inside_one_line = !levels_.empty() && levels_.back().one_line;
    levels_.push_back({closing, inside_one_line || layout == kOneLine, true});
    return *this;
}

JsonWriter& JsonWriter::end() {
    const Level level = levels_.back();
    levels_.pop_back();
    if (!level.empty && !level.one_line) text_.append("\n").append(2 * levels_.size(), ' ');
    text_ += level.closing;
    return *this;
}

void JsonWriter::separate() {
    if (after_key_) {  // the value of a key: its separator stands before the key
        after_key_ = false;
        return;
    }
    if (levels_.empty()) return;
    Level& level = levels_.back();
    if (!level.empty) text_ += level.one_line ? ", " : ",";
    if (!level.one_line) text_.append("\n").append(2 * levels_.size(), ' ');
    level.empty = false;
}

void JsonWriter::quote(std::string_view text) {
    text_ += '"';
    while (!text.empty()) {
        const Utf8Step step = utf8_step(text);
        const std::string_view bytes = text.substr(0, step.length_bytes);
        text.remove_prefix(step.length_bytes);
        switch (step.code_point) {
            case '"':
                text_ += "\\\"";
                break;
            case '\\':
                text_ += "\\\\";
                break;
            case '\n':
                text_ += "\\n";
                break;
            case '\r':
                text_ += "\\r";
                break;
            case '\t':
                text_ += "\\t";
                break;
            default:
                if (!step.valid) {
                    text_ += "\\ufffd";
                } else if (step.code_point < 0x20 || step.code_point == 0x7f) {
                    fmt::format_to(std::back_inserter(text_), "\\u{:04x}", uint32_t(step.code_point));
                } else {
                    text_ += bytes;
                }
        }
    }
    text_ += '"';
}

}  // namespace ingot

#pragma once
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

/// Writes one JSON document into a string, front to back:
///
///     JsonWriter json;
///     json.begin_object().member("name", "tolstoy-5m").key("shape").begin_array(JsonWriter::kOneLine);
///     json.value(256).value(2048).end_array().end_object();
///     fmt::print("{}\n", json.text());
///
/// Always valid JSON in UTF-8: malformed bytes become U+FFFD, numbers that JSON lacks (NaN, infinities) null.
/// Floating-point numbers have the fewest digits that read back as the same number. Not thread-safe.
class JsonWriter {
  public:
    enum Layout { kLines, kOneLine };  // one member or element per line; or all of it on one line

    JsonWriter& begin_object(Layout layout = kLines) { return begin('{', '}', layout); }
    JsonWriter& end_object() { return end(); }
    JsonWriter& begin_array(Layout layout = kLines) { return begin('[', ']', layout); }
    JsonWriter& end_array() { return end(); }
    JsonWriter& key(std::string_view name);

    JsonWriter& value(std::string_view text);
    JsonWriter& value(const char* text) { return value(std::string_view(text)); }
    JsonWriter& value(bool truth) { return raw(truth ? "true" : "false"); }
    JsonWriter& value(float number);
    JsonWriter& value(double number);
    template <std::integral Integer>
    JsonWriter& value(Integer number) {
        if constexpr (std::signed_integral<Integer>) {
            return integer(int64_t(number));
        } else {
            return integer(uint64_t(number));
        }
    }
    JsonWriter& null() { return raw("null"); }

    template <typename T>
    JsonWriter& member(std::string_view name, const T& member_value) {
        return key(name).value(member_value);
    }

    /// The document so far; complete when every object and array was ended.
    const std::string& text() const { return text_; }

  private:
    struct Level {
        char closing;
        bool one_line;
        bool empty;
    };
    JsonWriter& begin(char opening, char closing, Layout layout);
    JsonWriter& end();
    JsonWriter& raw(std::string_view encoded);
    JsonWriter& integer(int64_t number);
    JsonWriter& integer(uint64_t number);
    void separate();  // the comma and white space in front of the next key or element
    void quote(std::string_view text);

    std::string text_;
    std::vector<Level> levels_;
    bool after_key_ = false;
};

}  // namespace ingot

#include "format/json_writer.h"

#include <limits>

#include "format/utf8.h"
#include "tests/catch.h"

using ingot::JsonWriter;

namespace {

template <typename T>
std::string encoded(const T& value) {
    return JsonWriter().value(value).text();
}

}  // namespace

TEST_CASE("JSON: objects and arrays are laid out one member a line, or on one line where asked") {
    JsonWriter json;
    json.begin_object().member("name", "tolstoy").key("shape").begin_array(JsonWriter::kOneLine);
    json.value(256).value(2048).end_array().key("tensors").begin_array();
    json.begin_object(JsonWriter::kOneLine).member("type", "F32").member("bytes", 8).end_object();
    json.end_array().key("nothing").begin_object().end_object().end_object();
    CHECK(json.text() == R"({
  "name": "tolstoy",
  "shape": [256, 2048],
  "tensors": [
    {"type": "F32", "bytes": 8}
  ],
  "nothing": {}
})");
}

TEST_CASE("JSON: what is inside a one-line array stays on its line") {
    JsonWriter json;
    json.begin_array(JsonWriter::kOneLine)
        .begin_array()
        .value(1)
        .value(2)
        .end_array()
        .begin_array()
        .end_array();
    CHECK(json.end_array().text() == "[[1, 2], []]");
}

TEST_CASE("JSON: quotes, backslashes and control characters are escaped, in keys too") {
    CHECK(encoded("a\"b\\c\n\r\t") == R"("a\"b\\c\n\r\t")");
    CHECK(encoded(std::string_view("\0\x01\x1b\x7f", 4)) == R"("\u0000\u0001\u001b\u007f")");
    CHECK(JsonWriter().begin_object(JsonWriter::kOneLine).member("a\nb", true).end_object().text() ==
          R"({"a\nb": true})");
}

TEST_CASE("JSON: valid UTF-8 passes through, malformed bytes become U+FFFD as in Python's decoder") {
    CHECK(encoded("naïve ▁the 漢 😀") == "\"naïve ▁the 漢 😀\"");
    CHECK(encoded("a\xff"
                  "b") == R"("a\ufffdb")");
    CHECK(encoded("\xe6\xbc") == R"("\ufffd")");                            // cut short: one replacement
    CHECK(encoded("\xe6\xbcz") == R"("\ufffdz")");                          // cut short by another character
    CHECK(encoded("\xc0\x80") == R"("\ufffd\ufffd")");                      // over-long NUL
    CHECK(encoded("\xed\xa0\x80") == R"("\ufffd\ufffd\ufffd")");            // surrogate
    CHECK(encoded("\xf4\x90\x80\x80") == R"("\ufffd\ufffd\ufffd\ufffd")");  // above U+10FFFF
    CHECK(encoded("\xf0\x9f\x98") == R"("\ufffd")");
}

TEST_CASE("JSON: numbers have the fewest digits that read back as the same number") {
    CHECK(encoded(0.1f) == "0.1");
    CHECK(encoded(0.1) == "0.1");
    CHECK(encoded(double(0.1f)) == "0.10000000149011612");
    CHECK(encoded(1e-5f) == "1e-05");
    CHECK(encoded(10000.0f) == "10000.0");
    CHECK(encoded(1e30f) == "1e+30");
    CHECK(encoded(-0.0) == "-0.0");
    CHECK(encoded(std::numeric_limits<double>::max()) == "1.7976931348623157e+308");
    CHECK(encoded(std::numeric_limits<uint64_t>::max()) == "18446744073709551615");
    CHECK(encoded(std::numeric_limits<int64_t>::min()) == "-9223372036854775808");
    CHECK(encoded(int8_t(-7)) == "-7");
    CHECK(encoded(uint8_t(200)) == "200");
    CHECK(encoded(true) == "true");
}

TEST_CASE("JSON: numbers that JSON lacks are null") {
    CHECK(encoded(std::numeric_limits<float>::quiet_NaN()) == "null");
    CHECK(encoded(std::numeric_limits<double>::infinity()) == "null");
    CHECK(encoded(-std::numeric_limits<float>::infinity()) == "null");
}

TEST_CASE("UTF-8: every boundary of the table of well-formed sequences") {
    for (const char* text : {"\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                             "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
        CAPTURE(text);
        CHECK(ingot::is_utf8(text));
    }
    for (const char* text : {"\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                             "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff"}) {
        CAPTURE(text);
        CHECK_FALSE(ingot::is_utf8(text));
    }
    CHECK(ingot::utf8_step("\xf4\x8f\xbf\xbf").code_point == 0x10ffff);
}

#include "inspect/value_text.h"

#include "format/json_writer.h"
#include "inspect/report_json.h"
#include "tests/catch.h"
#include "tests/inspect/small_file.h"

using namespace ingot;
using namespace ingot::test;
using inspect::escaped;

TEST_CASE("shown text: control characters, overrides and malformed bytes are spelled out") {
    CHECK(escaped("plain ▁text 漢") == "plain ▁text 漢");
    CHECK(escaped("a\nb\tc\x1b[31m") == "a\\nb\\tc\\x1b[31m");
    CHECK(escaped("\xc2\x9b") == "\\u009b");      // C1: a one-character escape sequence
    CHECK(escaped("\xe2\x80\xae") == "\\u202e");  // right-to-left override
    CHECK(escaped("a\xff\xc3") == "a\\xff\\xc3");
    CHECK(escaped(std::string_view("\0", 1)) == "\\x00");
}

TEST_CASE("shown text: cut to so many columns, never inside an escape or a character") {
    CHECK(escaped("abcdef", 6) == "abcdef");
    CHECK(escaped("abcdefg", 6) == "abcde…");
    CHECK(escaped("漢漢漢", 2) == "漢…");
    CHECK(escaped("a\x1b\x1b", 6) == "a\\x1b…");
    CHECK(escaped("ab", 0) == "…");
}

namespace {

struct Fixture {
    Metadata metadata;
    std::vector<std::byte> bytes;

    std::string text(MetadataValue value, const inspect::TextLimits& limits = {}) {
        metadata.set("key", std::move(value));
        bytes = encode_file(metadata, {});
        const GgufHeader header = GgufHeader::parse(bytes);
        return inspect::type_text(*header.find("key")) + ": " +
               inspect::value_text(*header.find("key"), limits);
    }
};

}  // namespace

TEST_CASE_METHOD(Fixture, "value text: every type of value") {
    CHECK(text(uint8_t(200)) == "uint8: 200");
    CHECK(text(int8_t(-7)) == "int8: -7");
    CHECK(text(uint16_t(65535)) == "uint16: 65535");
    CHECK(text(int16_t(-32768)) == "int16: -32768");
    CHECK(text(uint32_t(4294967295)) == "uint32: 4294967295");
    CHECK(text(int32_t(-1)) == "int32: -1");
    CHECK(text(0.1f) == "float32: 0.1");
    CHECK(text(true) == "bool: true");
    CHECK(text(std::string("a \"b\"\n")) == "string: a \"b\"\\n");
    CHECK(text(uint64_t(18446744073709551615ull)) == "uint64: 18446744073709551615");
    CHECK(text(int64_t(INT64_MIN)) == "int64: -9223372036854775808");
    CHECK(text(0.1) == "float64: 0.1");
}

TEST_CASE_METHOD(Fixture, "value text: arrays show their first elements and say how many there are") {
    const MetadataArray numbers{std::vector<uint32_t>{1, 2, 3, 4}};
    CHECK(text(numbers) == "array of uint32: [1, 2, 3, 4]");
    CHECK(text(numbers, {.max_elements = 2}) == "array of uint32: [1, 2, … 4 in all]");
    CHECK(text(MetadataArray{std::vector<std::string>{"a\"", "b\n"}}) ==
          R"(array of string: ["a\"", "b\n"])");
    CHECK(text(MetadataArray{std::vector<bool>{true, false}}) == "array of bool: [true, false]");
    CHECK(text(MetadataArray{std::vector<float>{}}) == "array of float32: []");
    const MetadataArray nested{
        std::vector<MetadataArray>{numbers, MetadataArray{std::vector<std::string>{"x"}}}};
    CHECK(text(nested) == "array of array: [[1, 2, 3, 4], [\"x\"]]");
}

TEST_CASE("JSON report: metadata, types and tensors; long arrays are shortened unless asked for whole") {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("numbers", MetadataArray{std::vector<uint32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9}});
    metadata.set("wide", uint64_t(18446744073709551615ull));
    const TemporaryFolder folder;
    write_bytes(folder / "a.gguf", encode_file(metadata, {{"t", TensorType::F16, {4, 3, 2}}}));
    const GgufModel file(folder / "a.gguf");

    JsonWriter json;
    inspect::write_report(json, file, {},
                          {.summary = false, .metadata = true, .tensors = true, .full = false});
    CHECK_THAT(json.text(), ContainsSubstring("\"ingot_inspect\": 1,"));
    CHECK_THAT(json.text(),
               ContainsSubstring(R"("general.architecture": {"type": "string", "value": "llama"})"));
    CHECK_THAT(json.text(),
               ContainsSubstring(R"("numbers": {"type": "array", "element_type": "uint32", "count": 9, )"
                                 R"("shortened": true, "value": [1, 2, 3, 4, 5, 6, 7, 8]})"));
    CHECK_THAT(json.text(),
               ContainsSubstring(R"("wide": {"type": "uint64", "value": 18446744073709551615})"));
    CHECK_THAT(json.text(),
               ContainsSubstring(R"({"name": "t", "type": "F16", "shape": [4, 3, 2], "elements": 24, )"));
    CHECK_THAT(json.text(), !ContainsSubstring("summary"));

    JsonWriter full;
    inspect::write_report(full, file, {}, {.full = true});
    CHECK_THAT(full.text(), ContainsSubstring(R"("count": 9, "value": [1, 2, 3, 4, 5, 6, 7, 8, 9]})"));
    CHECK_THAT(full.text(),
               ContainsSubstring(R"({"type": "F16", "tensors": 1, "elements": 24, "size_bytes": 48})"));
}

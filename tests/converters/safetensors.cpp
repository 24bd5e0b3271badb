// Rows 46 to 48 of the list of malformed input: one clear error each, before any tensor is touched.
#include "converters/sources/safetensors.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>

#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

using namespace ingot;
using namespace ingot::converters;
using namespace ingot::test;

namespace {

std::vector<SourceTensor> parse(const std::string& file) {
    return parse_safetensors({reinterpret_cast<const std::byte*>(file.data()), file.size()},
                             "model.safetensors");
}

/// What the error says, or "accepted".
std::string error_of(const std::string& file) {
    try {
        parse(file);
    } catch (const Error& error) {
        CHECK_THAT(error.what(), ContainsSubstring("model.safetensors"));
        return error.what();
    }
    return "accepted";
}

std::string with_length(uint64_t length, const std::string& rest) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes += char(length >> (8 * i));
    return bytes + rest;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
    return fmt::format("\"{}\":{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":{}}}", name, dtype, shape,
                       offsets);
}

std::string file_of(const std::vector<std::string>& entries, size_t data_bytes) {
    return safetensors_file(fmt::format("{{{}}}", fmt::join(entries, ",")), std::string(data_bytes, '\1'));
}

}  // namespace

TEST_CASE("A well-formed file gives tensors in the order of their bytes, rows last dimension first") {
    const std::string file = safetensors_file({{"b", "BF16", {3, 2}, std::string(12, 'b')},
                                               {"a", "F32", {2}, std::string(8, 'a')},
                                               {"s", "I64", {}, "12345678"}});
    const auto tensors = parse(file);
    REQUIRE(tensors.size() == 3);
    CHECK(tensors[0].name == "b");
    CHECK(tensors[0].type == TensorType::BF16);
    CHECK(tensors[0].shape == std::vector<uint64_t>{2, 3});
    CHECK(tensors[0].n_rows() == 3);
    CHECK(tensors[0].data.size() == 12);
    CHECK(char(tensors[1].data[7]) == 'a');
    CHECK(tensors[2].shape.empty());
    CHECK(tensors[2].n_elements() == 1);
}

TEST_CASE("An empty tensor and trailing spaces in the header are no fault") {
    const std::string header = fmt::format("{{{},{}}}   ", entry("none", "F32", "[0,4]", "[0,0]"),
                                           entry("one", "F32", "[1]", "[0,4]"));
    const auto tensors = parse(safetensors_file(header, "1234"));
    REQUIRE(tensors.size() == 2);
    CHECK(tensors[0].n_elements() == 0);
}

TEST_CASE("Element types without a tensor type are kept by name, for whoever needs that tensor to refuse") {
    const auto tensors =
        parse(file_of({entry("w", "F8_E4M3", "[4]", "[0,4]"), entry("q", "U8", "[2]", "[4,6]")}, 6));
    CHECK(tensors[0].unreadable == "F8_E4M3");
    CHECK(tensors[1].unreadable == "U8");
}

TEST_CASE("Row 46: a file too short for the header's length is an error") {
    CHECK_THAT(error_of(""), ContainsSubstring("0 bytes are too few"));
    CHECK_THAT(error_of("1234567"), ContainsSubstring("7 bytes are too few"));
    CHECK_THAT(error_of(with_length(0, "")), ContainsSubstring("does not start with '{'"));
}

TEST_CASE("Row 46: a header of more than 100 MB is an error before anything is allocated") {
    CHECK_THAT(error_of(with_length(100'000'001, "{}")), ContainsSubstring("at most"));
    CHECK_THAT(error_of(with_length(UINT64_MAX, "{}")), ContainsSubstring("at most"));
    CHECK_THAT(error_of(with_length(uint64_t(1) << 63, "{}")), ContainsSubstring("at most"));
}

TEST_CASE("Row 46: a header longer than the file is an error that speaks of the download") {
    CHECK_THAT(error_of(with_length(3, "{}")), ContainsSubstring("incomplete"));
    CHECK_THAT(error_of(with_length(100'000'000, "{}")), ContainsSubstring("incomplete"));
    const std::string whole = file_of({entry("w", "F32", "[2]", "[0,8]")}, 8);
    for (size_t length = 0; length < whole.size(); ++length) {
        CHECK(error_of(whole.substr(0, length)) != "accepted");
    }
    CHECK(error_of(whole) == "accepted");
}

TEST_CASE("Row 46: a header that is not UTF-8 is an error") {
    for (const char* bad : {"\xff", "\xc3(", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80"}) {
        CHECK(error_of(file_of({entry(std::string("w") + bad, "F32", "[1]", "[0,4]")}, 4)) != "accepted");
    }
}

TEST_CASE("A header that is no JSON of the expected shape is an error") {
    for (const char* header :
         {"{", "{]", "[]", "{\"w\":1}", "{\"w\":{}}", "{\"w\":null}",
          "{\"w\":{\"dtype\":\"F32\",\"shape\":[]}}", "{} {}", "{}x", "{\"__metadata__\":{\"a\":1}}",
          "{\"__metadata__\":[]}", "{\"w\" {}}", "{\"w\":{\"dtype\":F32}}"}) {
        INFO(header);
        CHECK(error_of(safetensors_file(header, "")) != "accepted");
    }
    for (const char* number : {"-1", "1.5", "1e3", "18446744073709551616", "\"1\"", "null", "[1]", "true"}) {
        INFO(number);
        CHECK(error_of(file_of({entry("w", "F32", fmt::format("[{}]", number), "[0,4]")}, 4)) != "accepted");
        CHECK(error_of(file_of({entry("w", "F32", "[1]", fmt::format("[0,{}]", number))}, 4)) != "accepted");
    }
}

TEST_CASE("A header nested a million levels deep is an error, in linear time") {
    const auto start = std::chrono::steady_clock::now();
    for (const char* opening : {"[", "{\"a\":", "{\"dtype\":"}) {
        std::string header = "{\"w\":";
        for (int i = 0; i < 1'000'000; ++i) header += opening;
        CHECK(error_of(safetensors_file(header, "")) != "accepted");
        CHECK(error_of(safetensors_file("{\"w\":{\"shape\":" + header + "}}", "")) != "accepted");
    }
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

TEST_CASE("A header of more tensors than any checkpoint has is refused before it is parsed") {
    std::string members;
    for (int i = 0; i < 3'000'000; ++i) members += "\"a\":{},";
    CHECK_THAT(error_of(safetensors_file("{" + members, "")), ContainsSubstring("more than 131072 tensors"));
    std::string shape;
    for (int i = 0; i < 9'000'000; ++i) shape += "1,";
    CHECK_THAT(error_of(safetensors_file("{\"w\":{\"shape\":[" + shape, "")), ContainsSubstring("more than"));
}

TEST_CASE("Row 47: tensors that overlap are an error that names the later one") {
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[2]", "[0,8]"), entry("b", "F32", "[2]", "[4,12]")}, 12)),
               ContainsSubstring("tensor \"b\" starts at byte 4"));
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[2]", "[0,8]"), entry("b", "F32", "[2]", "[0,8]")}, 8)),
               ContainsSubstring("inside another tensor"));
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[3]", "[0,12]"), entry("b", "F32", "[1]", "[4,8]")}, 12)),
               ContainsSubstring("tensor \"b\""));
}

TEST_CASE("Row 47: bytes that belong to no tensor are an error") {
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[1]", "[4,8]")}, 8)), ContainsSubstring("bytes 0 to 4"));
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[1]", "[0,4]"), entry("b", "F32", "[1]", "[8,12]")}, 12)),
               ContainsSubstring("bytes 4 to 8"));
    CHECK_THAT(error_of(file_of({entry("b", "F32", "[1]", "[5,9]"), entry("a", "F32", "[1]", "[0,4]")}, 9)),
               ContainsSubstring("before tensor \"b\""));
}

TEST_CASE("Row 47: tensors that do not end at the file's end are an error") {
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[1]", "[0,4]")}, 5)),
               ContainsSubstring("ends at byte 4"));
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[2]", "[0,8]")}, 7)), ContainsSubstring("7 bytes"));
    CHECK_THAT(error_of(file_of({}, 1)), ContainsSubstring("ends at byte 0"));
    CHECK_THAT(error_of(file_of({entry("a", "F32", "[1]", "[18446744073709551612,0]")}, 4)),
               ContainsSubstring("said to be bytes"));
}

TEST_CASE("Row 48: a shape and element type that do not make up the bytes are an error") {
    CHECK_THAT(error_of(file_of({entry("w", "F32", "[3]", "[0,8]")}, 8)),
               ContainsSubstring("takes 12 bytes"));
    CHECK_THAT(error_of(file_of({entry("w", "BF16", "[2,2]", "[0,4]")}, 4)),
               ContainsSubstring("takes 8 bytes"));
    CHECK_THAT(error_of(file_of({entry("w", "F64", "[]", "[0,4]")}, 4)), ContainsSubstring("takes 8 bytes"));
    CHECK_THAT(error_of(file_of({entry("w", "F4", "[3]", "[0,1]")}, 1)),
               ContainsSubstring("takes 1.5 bytes"));
    CHECK_THAT(error_of(file_of({entry("w", "F32", "[0]", "[0,4]")}, 4)), ContainsSubstring("takes 0 bytes"));
}

TEST_CASE("Row 48: dimensions whose product wraps around are an error") {
    CHECK_THAT(error_of(file_of({entry("w", "I8", "[4294967296,4294967296]", "[0,0]")}, 0)),
               ContainsSubstring("does not fit into 64 bits"));
    CHECK_THAT(error_of(file_of({entry("w", "F32", "[4611686018427387904]", "[0,0]")}, 0)),
               ContainsSubstring("does not fit into 64 bits"));
    CHECK_THAT(error_of(file_of({entry("w", "BF16", "[9223372036854775808,2,1,1,1]", "[0,0]")}, 0)),
               ContainsSubstring("does not fit into 64 bits"));
}

TEST_CASE("Row 48: a name, or a member of an entry, that appears twice is an error") {
    CHECK_THAT(error_of(file_of({entry("w", "F32", "[1]", "[0,4]"), entry("w", "F32", "[1]", "[4,8]")}, 8)),
               ContainsSubstring("\"w\" appears twice"));
    CHECK_THAT(
        error_of(file_of({entry("w", "F32", "[1]", "[0,4]"), entry("\\u0077", "F32", "[1]", "[4,8]")}, 8)),
        ContainsSubstring("\"w\" appears twice"));
    CHECK_THAT(error_of(safetensors_file(
                   "{\"w\":{\"dtype\":\"I8\",\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", "1")),
               ContainsSubstring("\"dtype\" twice"));
}

TEST_CASE("An element type that nobody knows is an error that names tensor and type") {
    CHECK_THAT(error_of(file_of({entry("w", "F128", "[1]", "[0,16]")}, 16)),
               ContainsSubstring("tensor \"w\" has the unknown dtype F128"));
}

TEST_CASE("A header of a hundred thousand tensors is read in linear time") {
    std::vector<std::string> entries;
    for (int i = 0; i < 100'000; ++i) entries.push_back(entry(fmt::format("t{}", i), "I8", "[0]", "[0,0]"));
    const std::string file = file_of(entries, 0);
    const auto start = std::chrono::steady_clock::now();
    CHECK(parse(file).size() == 100'000);
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(20));
}

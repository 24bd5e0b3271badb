// Malformed containers, part 1: header and metadata. Each case is one row of the list of what must be
// refused; its tag is the row's number. Files are built byte by byte and end where the allocation ends, so
// that the sanitizer sees a read past the end.
#include <algorithm>

#include "tests/catch.h"
#include "tests/format/gguf_bytes.h"

namespace ingot::test {

namespace {

/// A well-formed file with every kind of value, three tensors and their data.
GgufBytes whole_file(size_t* header_bytes = nullptr) {
    GgufBytes file(3, 16);
    file.key("general.architecture", ValueType::String).string("llama");
    file.key("u8", ValueType::Uint8).u8(200);
    file.key("i8", ValueType::Int8).u8(0xff);
    file.key("u16", ValueType::Uint16).u8(1).u8(2);
    file.key("i16", ValueType::Int16).u8(1).u8(2);
    file.key_u32("u32", 7);
    file.key("i32", ValueType::Int32).u32(7);
    file.key("f32", ValueType::Float32).f32(1.5f);
    file.key("bool", ValueType::Bool).u8(1);
    file.key("u64", ValueType::Uint64).u64(7);
    file.key("i64", ValueType::Int64).u64(7);
    file.key("f64", ValueType::Float64).u64(0x3ff8000000000000);
    file.key_array("floats", ValueType::Float32, 3).f32(1).f32(2).f32(3);
    file.key_array("tokens", ValueType::String, 3).string("a").string("").string("\xff\xfe");
    file.key_array("nested", ValueType::Array, 2);
    file.type(ValueType::String).u64(1).string("x").type(ValueType::Uint8).u64(2).u8(1).u8(2);
    file.key_array("empty", ValueType::Uint32, 0);
    file.tensor("a", {4, 2}, 0, 0).tensor("b", {32}, 8, 32).tensor("c", {256, 2, 2, 1}, 12, 96);
    if (header_bytes != nullptr) *header_bytes = file.size();
    return file.pad().zeros(32 + 34).pad().zeros(4 * 144).pad();
}

}  // namespace

TEST_CASE("a file cut at any byte of its header is refused", "[hostile][row1]") {
    size_t header_bytes = 0;
    const std::vector<std::byte> whole = whole_file(&header_bytes).bytes();
    REQUIRE(outcome_of(whole).error == "");
    for (size_t size = 0; size < header_bytes; ++size) {
        CAPTURE(size);
        const std::vector<std::byte> cut(whole.begin(), whole.begin() + ptrdiff_t(size));
        CHECK_REFUSED(cut, "byte");
    }
    SECTION("the empty file") {
        CHECK_REFUSED(GgufBytes(), "magic needs 4 bytes");
    }
    SECTION("the four letters GGUF") {
        CHECK_REFUSED(GgufBytes().text("GGUF"), "version needs 4 bytes");
    }
    SECTION("the padding and all data are missing") {
        const std::vector<std::byte> cut(whole.begin(), whole.begin() + ptrdiff_t(header_bytes));
        CHECK_REFUSED(cut, "the download is incomplete");
    }
    SECTION("the last byte is missing") {  // of the data of c: padding follows, so cut that too
        const std::vector<std::byte> cut(whole.begin(), whole.end() - 1);
        const size_t tensor_end = (header_bytes + 31) / 32 * 32 + 96 + 4 * 144;
        REQUIRE(tensor_end == whole.size());
        CHECK_REFUSED(cut, "tensor c: ends at byte");
    }
}

TEST_CASE("a file that is no GGUF of version 2 or 3 is refused and its endianness named", "[hostile][row2]") {
    CHECK(outcome_of(GgufBytes(0, 0, 2)).error == "");
    CHECK(outcome_of(GgufBytes(0, 0, 3)).error == "");
    CHECK_REFUSED(GgufBytes(0, 0, 0), "is version 0");
    CHECK_REFUSED(GgufBytes(0, 0, 1), "is version 1");
    CHECK_REFUSED(GgufBytes(0, 0, 4), "is version 4");
    CHECK_REFUSED(GgufBytes(0, 0, 0xffffffff), "is version 4294967295");
    CHECK_REFUSED(GgufBytes(0, 0, 0x03000000), "big-endian");
    CHECK_REFUSED(GgufBytes(0, 0, 0x02000000), "big-endian");
    CHECK_REFUSED(GgufBytes().text("FUGG").u32(0x03000000).u64(0).u64(0), "big-endian");
    CHECK_REFUSED(GgufBytes().text("PK\3\4").zeros(20), "50 4b 03 04");
    CHECK_REFUSED(GgufBytes().text("gguf").u32(3).u64(0).u64(0), "no GGUF file");
}

TEST_CASE("a count of keys or tensors that the file cannot hold is refused", "[hostile][row3]") {
    for (const uint64_t count :
         {uint64_t(1), uint64_t(1) << 20, uint64_t(1) << 63, UINT64_MAX, uint64_t(INT64_MAX)}) {
        CAPTURE(count);
        CHECK_REFUSED(GgufBytes(0, count), "keys, but the 0 bytes that follow");
        CHECK_REFUSED(GgufBytes(count, 0), "tensors, but the 0 bytes that follow");
        CHECK_REFUSED(GgufBytes(count, count), "declares");
    }
    CHECK_REFUSED(GgufBytes(0, 3).key_u32("a", 1).key_u32("b", 1).zeros(13), "name is empty");
    CHECK_REFUSED(GgufBytes(2, 1).key_u32("padding", 1).zeros(40), "declares 2 tensors");
}

TEST_CASE("a tensor count whose product with the size of a tensor wraps is refused", "[hostile][row4]") {
    for (const uint64_t size : {24, 25, 32, 64, 80, 88, 96, 256, 320, 368, 384}) {
        CAPTURE(size);
        const uint64_t wraps = UINT64_MAX / size + 1;  // times size is less than size
        CHECK_REFUSED(GgufBytes(wraps, 0).zeros(1000), "tensors, but the 1,000 bytes");
        CHECK_REFUSED(GgufBytes(wraps + 1, 0).zeros(1000), "tensors, but the 1,000 bytes");
        CHECK_REFUSED(GgufBytes(0, wraps).zeros(1000), "keys, but the 1,000 bytes");
    }
}

TEST_CASE("a string longer than the rest of the file is refused", "[hostile][row5]") {
    for (const uint64_t length :
         {uint64_t(100), uint64_t(1) << 32, uint64_t(1) << 63, UINT64_MAX - 7, UINT64_MAX}) {
        CAPTURE(length);
        CHECK_REFUSED(GgufBytes(0, 1).u64(length).text("k").zeros(20), "key #1 at byte 32: name needs");
        CHECK_REFUSED(GgufBytes(0, 1).key("k", ValueType::String).u64(length).zeros(20), "key k at byte 45");
        CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::String, 2).string("ok").u64(length).zeros(20),
                      "key k at byte");
        CHECK_REFUSED(GgufBytes(1, 0).u64(length).zeros(40), "tensor #1 at byte 32: name needs");
    }
    CHECK_REFUSED(GgufBytes(0, 1).key("k", ValueType::String).u64(6).text("12345"), "needs 6 bytes");
}

TEST_CASE("an array whose count times element size wraps is refused", "[hostile][row6]") {
    for (const uint64_t element_bytes : {1, 2, 4, 8, 12, 16, 24, 32}) {
        const uint64_t count = UINT64_MAX / element_bytes + (element_bytes == 1 ? 0 : 1);
        for (uint32_t type = 0; type <= 12; ++type) {
            CAPTURE(element_bytes, type);
            CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType(type), count).zeros(64), "key k at byte");
            CHECK_REFUSED(
                GgufBytes(0, 1).key_array("k", ValueType(type), count + (element_bytes > 1)).zeros(64),
                "can hold at most");
        }
    }
}

TEST_CASE("a tiny file that declares a gigabyte is refused before memory is taken", "[hostile][row7]") {
    const uint64_t gigabyte = uint64_t(1) << 30;
    CHECK_REFUSED(GgufBytes(0, 1).key("k", ValueType::String).u64(gigabyte), "1,073,741,824 bytes");
    CHECK_REFUSED(GgufBytes(0, 1).u64(gigabyte).zeros(14), "1,073,741,824 bytes");
    CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::Uint8, gigabyte), "1,073,741,824 uint8");
    CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::String, gigabyte), "1,073,741,824 string");
    CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::Array, gigabyte), "1,073,741,824 array");
    CHECK_REFUSED(GgufBytes(gigabyte, 0).zeros(24), "declares 1,073,741,824 tensors");

    SECTION("a string may not be longer than its cap even where the file is") {
        const GgufBytes file =
            GgufBytes(0, 1).key("k", ValueType::String).u64(kMaxStringBytes + 1).zeros(kMaxStringBytes + 1);
        CHECK_REFUSED(file, "at most 67,108,864 are allowed");
    }
    SECTION("nor may a key") {
        const GgufBytes file = GgufBytes(0, 1).string(std::string(kMaxKeyBytes + 1, 'k')).zeros(5);
        CHECK_REFUSED(file, "at most 65,536 are allowed");
        CHECK(outcome_of(GgufBytes(0, 1).string(std::string(kMaxKeyBytes, 'k')).zeros(5)).error == "");
    }
}

TEST_CASE("millions of empty strings take no memory of their own", "[hostile][row8]") {
    constexpr uint64_t kCount = 4'000'000;
    SECTION("in one array") {
        const GgufBytes file = GgufBytes(0, 1).key_array("k", ValueType::String, kCount).zeros(8 * kCount);
        const Outcome outcome = outcome_of(file);
        CHECK(outcome.error == "");
        CHECK(outcome.seconds < 1);
        CHECK(outcome.allocated < 4096);
    }
    SECTION("in arrays in an array") {  // each with its own type and count
        GgufBytes file = GgufBytes(0, 1).key_array("k", ValueType::Array, kCount / 4);
        for (uint64_t i = 0; i < kCount / 4; ++i) file.type(ValueType::String).u64(1).u64(0);
        const Outcome outcome = outcome_of(file);
        CHECK(outcome.error == "");
        CHECK(outcome.seconds < 1);
        CHECK(outcome.allocated < 4096);
    }
    SECTION("and one too many is refused") {
        CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::String, kCount + 1).zeros(8 * kCount),
                      "at most");
    }
    SECTION("handed out as views they stay within four times the file") {
        const std::vector<std::byte> bytes =
            GgufBytes(0, 1).key_array("k", ValueType::String, kCount).zeros(8 * kCount).bytes();
        const GgufHeader header = GgufHeader::parse(bytes);
        const uint64_t before = allocated_bytes();
        CHECK(header.strings("k").size() == kCount);
        CHECK(allocated_bytes() - before <= 4 * bytes.size());
    }
}

TEST_CASE("arrays nested too deeply are refused", "[hostile][row9]") {
    const auto nested = [](uint32_t depth) {  // `depth` arrays around nothing
        GgufBytes file = GgufBytes(0, 1).key("k", ValueType::Array);
        for (uint32_t i = 1; i < depth; ++i) file.type(ValueType::Array).u64(1);
        return file.type(ValueType::Uint8).u64(0);
    };
    CHECK(outcome_of(nested(1)).error == "");
    CHECK(outcome_of(nested(kMaxArrayDepth)).error == "");
    for (const uint32_t depth : {kMaxArrayDepth + 1, 1000u, 1'000'000u}) {
        CAPTURE(depth);
        CHECK_REFUSED(nested(depth), "nested more than 64 deep");
    }
    SECTION("wide at every level") {
        GgufBytes file = GgufBytes(0, 1).key("k", ValueType::Array);
        for (uint32_t i = 0; i < 100; ++i) file.type(ValueType::Array).u64(2);
        CHECK_REFUSED(file.zeros(1000), "nested more than 64 deep");
    }
}

TEST_CASE("a value type that does not exist is refused", "[hostile][row10]") {
    for (const uint32_t type : {13u, 14u, 255u, 1u << 16, 0x7fffffffu, 0x80000000u, 0xffffffffu}) {
        CAPTURE(type);
        const std::string part = fmt::format("value type {}", type);
        CHECK_REFUSED(GgufBytes(0, 1).key("k", ValueType(type)).zeros(16), part);
        CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType(type), 1).zeros(16), part);
        CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType(type), 0), part);
        CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::Array, 1).type(ValueType(type)).u64(0), part);
    }
    CHECK_REFUSED(GgufBytes(0, 1).key("k", ValueType::Bool).u8(2), "bool of value 2");
    CHECK_REFUSED(GgufBytes(0, 1).key_array("k", ValueType::Bool, 3).u8(1).u8(0).u8(255),
                  "bool of value 255");
}

TEST_CASE("an empty key is refused", "[hostile][row11]") {
    CHECK_REFUSED(GgufBytes(0, 1).key_u32("", 1), "key #1 at byte 32: its name is empty");
    CHECK_REFUSED(GgufBytes(0, 2).key_u32("a", 1).key_u32("", 1), "key #2");
    CHECK_REFUSED(GgufBytes(0, 1).key("", ValueType::String).string("text"), "its name is empty");
    CHECK_REFUSED(GgufBytes(1, 0).tensor("", {1}, 0, 0).pad().zeros(32), "tensor #1");
}

TEST_CASE("a key that occurs twice is refused", "[hostile][row12]") {
    CHECK_REFUSED(GgufBytes(0, 2).key_u32("twin", 1).key_u32("twin", 1), "key twin");
    CHECK_REFUSED(GgufBytes(0, 3).key_u32("twin", 1).key_u32("b", 1).key_u32("twin", 2), "occurs twice");
    CHECK_REFUSED(GgufBytes(0, 2).key_u32("twin", 1).key("twin", ValueType::String).string("x"),
                  "occurs twice");
    GgufBytes file(0, 1001);
    for (int i = 0; i < 1000; ++i) file.key_u32(fmt::format("key.{}", i), 1);
    const Outcome outcome = outcome_of(file.key_u32("key.500", 1));
    CHECK_THAT(outcome.error, ContainsSubstring("key key.500") && ContainsSubstring("occurs twice"));
    CHECK(outcome_of(GgufBytes(0, 2).key_u32("twin", 1).key_u32("Twin", 1)).error == "");
}

TEST_CASE("a tensor name that occurs twice is refused", "[hostile][row13]") {
    CHECK_REFUSED(GgufBytes(2, 0).tensor("w", {8}, 0, 0).tensor("w", {8}, 0, 32).pad().zeros(64), "tensor w");
    CHECK_REFUSED(GgufBytes(2, 0).tensor("w", {8}, 0, 0).tensor("w", {8}, 0, 0).pad().zeros(64),
                  "occurs twice");
    CHECK_REFUSED(
        GgufBytes(3, 0).tensor("w", {8}, 0, 0).tensor("v", {8}, 0, 32).tensor("w", {4, 2}, 1, 64).zeros(200),
        "occurs twice");
    CHECK(outcome_of(GgufBytes(1, 1).key_u32("w", 1).tensor("w", {8}, 0, 0).pad().zeros(32)).error == "");
}

TEST_CASE("a key or tensor name with NUL or broken UTF-8 is refused", "[hostile][row14]") {
    using namespace std::string_view_literals;
    for (const std::string_view name :
         {"a\0b"sv, "\0"sv, "\x80"sv, "a\xff"sv, "\xc3"sv, "\xc0\xaf"sv, "\xed\xa0\x80"sv,
          "\xf4\x90\x80\x80"sv, "\xe2\x82"sv, "long enough to pass in words of eight\xf8"sv}) {
        CHECK_REFUSED(GgufBytes(0, 1).key_u32(name, 1), name.find('\0') != name.npos ? "NUL" : "UTF-8");
        CHECK_REFUSED(GgufBytes(1, 0).tensor(name, {8}, 0, 0).pad().zeros(32),
                      name.find('\0') != name.npos ? "NUL" : "UTF-8");
    }
    for (const std::string_view name : {"ключ"sv, "钥匙"sv, "\xf0\x9f\x94\x91"sv, "with space"sv}) {
        CHECK(outcome_of(GgufBytes(0, 1).key_u32(name, 1)).error == "");
    }
    // Values may hold anything: tokens of old files are single bytes.
    CHECK(outcome_of(GgufBytes(0, 1).key("k", ValueType::String).string("\xff\0\xfe"sv)).error == "");
}

TEST_CASE("a million tiny keys are read in linear time", "[hostile][row15]") {
    // Keys of four letters: the digits of their number in base 32. `twin` makes the last equal to the first.
    const auto file_of = [](uint32_t n_keys, bool twin = false) {
        GgufBytes file(0, n_keys);
        for (uint32_t i = 0; i < n_keys; ++i) {
            const uint32_t number = twin && i + 1 == n_keys ? 0 : i;
            file.u64(4);
            for (const uint32_t shift : {0, 5, 10, 15}) file.u8(uint8_t('A' + (number >> shift & 31)));
            file.type(ValueType::Bool).u8(1);
        }
        return file.bytes();
    };
    const auto seconds_of = [](const std::vector<std::byte>& bytes) {  // the best of three
        double best = 1e9;
        for (int i = 0; i < 3; ++i) {
            const Outcome outcome = outcome_of(bytes);
            CHECK(outcome.error == "");
            CHECK(outcome.modest(bytes.size()));
            best = std::min(best, outcome.seconds);
        }
        return best;
    };
    constexpr uint32_t kMillion = 1 << 20;
    const double part = seconds_of(file_of(kMillion / 32));
    const double whole = seconds_of(file_of(kMillion));
    // Up to 8 times more for leaving the caches; a quadratic search would take 1024 times as long.
    CHECK(whole < 32 * 8 * part + 0.01);

    const Outcome outcome = outcome_of(file_of(kMillion, true));
    CHECK_THAT(outcome.error, ContainsSubstring("key AAAA") && ContainsSubstring("occurs twice"));
    CHECK(outcome.seconds < 1);
}

TEST_CASE("an alignment that is no uint32 is refused", "[hostile][row16]") {
    CHECK_REFUSED(GgufBytes(0, 1).key("general.alignment", ValueType::String).string("32"),
                  "is of type string");
    CHECK_REFUSED(GgufBytes(0, 1).key("general.alignment", ValueType::Uint64).u64(32), "is of type uint64");
    CHECK_REFUSED(GgufBytes(0, 1).key("general.alignment", ValueType::Int32).u32(32), "is of type int32");
    CHECK_REFUSED(GgufBytes(0, 1).key("general.alignment", ValueType::Uint8).u8(32), "is of type uint8");
    CHECK_REFUSED(GgufBytes(0, 1).key("general.alignment", ValueType::Float32).f32(32), "is of type float32");
    CHECK_REFUSED(GgufBytes(0, 1).key_array("general.alignment", ValueType::Uint32, 1).u32(32),
                  "is of type array");
}

TEST_CASE("an alignment of zero or no power of two is refused", "[hostile][row17]") {
    for (const uint32_t alignment : {0u, 1u, 3u, 4u, 24u, 33u, 48u, 96u, 0xffffffffu}) {
        CAPTURE(alignment);
        CHECK_REFUSED(GgufBytes(0, 1).key_u32("general.alignment", alignment), "power of two from 8");
        CHECK_REFUSED(
            GgufBytes(1, 1).key_u32("general.alignment", alignment).tensor("w", {8}, 0, 0).pad().zeros(64),
            "key general.alignment");
    }
    for (const uint32_t alignment : {8u, 16u, 64u, 4096u}) {
        const GgufBytes file = GgufBytes(2, 1)
                                   .key_u32("general.alignment", alignment)
                                   .tensor("w", {2}, 0, 0)
                                   .tensor("v", {2}, 0, alignment)
                                   .pad(alignment)
                                   .zeros(alignment + 8);
        const std::vector<std::byte> bytes = file.bytes();
        const GgufHeader header = GgufHeader::parse(bytes);
        CHECK(header.alignment() == alignment);
        CHECK(header.data_offset() % alignment == 0);
        CHECK(header.tensors()[1].offset == header.data_offset() + alignment);
    }
}

TEST_CASE("an alignment above one mebibyte is refused", "[hostile][row18]") {
    for (const uint32_t alignment : {1u << 21, 1u << 30, 1u << 31}) {
        CAPTURE(alignment);
        CHECK_REFUSED(GgufBytes(0, 1).key_u32("general.alignment", alignment), "to 1,048,576");
        CHECK_REFUSED(GgufBytes(1, 1).key_u32("general.alignment", alignment).tensor("w", {0}, 0, 0),
                      "to 1,048,576");
    }
    CHECK(outcome_of(GgufBytes(0, 1).key_u32("general.alignment", 1 << 20)).error == "");
}

}  // namespace ingot::test

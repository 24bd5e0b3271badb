#include "format/gguf_writer.h"

#include "format/ingot_keys.h"
#include "format/metadata.h"
#include "tests/catch.h"
#include "tests/format/gguf_bytes.h"

namespace ingot::test {
namespace {

Metadata metadata_of_every_type() {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("u8", uint8_t(200));
    metadata.set("i8", int8_t(-100));
    metadata.set("u16", uint16_t(65535));
    metadata.set("i16", int16_t(-32768));
    metadata.set("u32", uint32_t(4294967295));
    metadata.set("i32", int32_t(-1));
    metadata.set("f32", 0.1f);
    metadata.set("bool", true);
    metadata.set("string", std::string("with\0NUL and \xff", 15));
    metadata.set("u64", UINT64_MAX);
    metadata.set("i64", INT64_MIN);
    metadata.set("f64", 0.1);
    metadata.set("a.u8", MetadataArray{std::vector<uint8_t>{1, 2, 255}});
    metadata.set("a.i8", MetadataArray{std::vector<int8_t>{1, -2, -128}});
    metadata.set("a.u16", MetadataArray{std::vector<uint16_t>{1, 65535}});
    metadata.set("a.i16", MetadataArray{std::vector<int16_t>{1, -32768}});
    metadata.set("a.u32", MetadataArray{std::vector<uint32_t>{1, 1u << 31}});
    metadata.set("a.i32", MetadataArray{std::vector<int32_t>{1, -1}});
    metadata.set("a.f32", MetadataArray{std::vector<float>{1, -0.5f}});
    metadata.set("a.bool", MetadataArray{std::vector<bool>{true, false, true}});
    metadata.set("a.string", MetadataArray{std::vector<std::string>{"a", "", "bcd"}});
    metadata.set("a.u64", MetadataArray{std::vector<uint64_t>{1, UINT64_MAX}});
    metadata.set("a.i64", MetadataArray{std::vector<int64_t>{INT64_MIN}});
    metadata.set("a.f64", MetadataArray{std::vector<double>{1, 0.1}});
    metadata.set("a.empty", MetadataArray{std::vector<std::string>{}});
    metadata.set("a.nested", MetadataArray{std::vector<MetadataArray>{
                                 {std::vector<int32_t>{1, 2}},
                                 {std::vector<std::string>{"x"}},
                                 {std::vector<MetadataArray>{{std::vector<bool>{true}}}}}});
    return metadata;
}

/// The header with room for its data: what the reader needs.
std::vector<std::byte> whole(const GgufLayout& layout) {
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    return bytes;
}

}  // namespace

TEST_CASE("a header is written byte for byte as SPEC.md says", "[writer]") {
    Metadata metadata;
    metadata.set("general.alignment", uint32_t(64));
    metadata.set("a", MetadataArray{std::vector<std::string>{"x", ""}});
    const GgufLayout layout(std::move(metadata), {{.name = "w", .type = TensorType::F16, .shape = {3, 2}}});
    GgufBytes expected(1, 2);
    expected.key_u32("general.alignment", 64).key_array("a", ValueType::String, 2).string("x").string("");
    expected.tensor("w", {3, 2}, 1, 0).pad(64);
    CHECK(layout.encode_header() == expected.bytes());
    CHECK(layout.data_offset() == expected.size());
    CHECK(layout.file_size_bytes() == expected.size() + 64);
    CHECK(layout.tensors()[0].offset == expected.size());
    CHECK(layout.tensors()[0].size_bytes == 12);
    CHECK(layout.tensors()[0].n_elements == 6);
}

TEST_CASE("every value survives writing, reading and writing again", "[writer]") {
    const GgufLayout layout(metadata_of_every_type(), {});
    const std::vector<std::byte> bytes = layout.encode_header();
    const GgufHeader header = GgufHeader::parse(bytes);
    Metadata copy;
    for (const KeyValue& entry : header.metadata()) {
        copy.set(std::string(entry.key), Metadata::copy_of(entry.value));
    }
    REQUIRE(copy.entries().size() == layout.metadata().entries().size());
    for (size_t i = 0; i < copy.entries().size(); ++i) {
        const auto& [key, value] = copy.entries()[i];
        CAPTURE(key);
        CHECK(key == layout.metadata().entries()[i].first);
        CHECK(value.index() == layout.metadata().entries()[i].second.index());
    }
    CHECK(GgufLayout(std::move(copy), {}).encode_header() == bytes);
    CHECK(header.get_string("string") == std::string_view("with\0NUL and \xff", 15));
    CHECK(header.get_float("f32") == double(0.1f));
    CHECK(header.ints("a.i8") == std::vector<int64_t>{1, -2, -128});
    CHECK(header.find("i64")->as_int() == INT64_MIN);
}

TEST_CASE("tensors of every type are placed without a gap but the padding", "[writer]") {
    std::vector<TensorPlan> plans;
    for (const TensorTypeInfo& type : tensor_types()) {
        plans.push_back({.name = fmt::format("tensor.{}", type.name), .type = type.type, .shape = {256, 3}});
    }
    plans.push_back({.name = "empty", .type = TensorType::F32, .shape = {0}});
    plans.push_back({.name = "last", .type = TensorType::I8, .shape = {1, 1, 1, 1}});
    const GgufLayout layout(Metadata(), plans);
    const std::vector<std::byte> bytes = whole(layout);
    const GgufHeader header = GgufHeader::parse(bytes);
    REQUIRE(header.tensors().size() == plans.size());
    uint64_t end = header.data_offset();
    for (size_t i = 0; i < plans.size(); ++i) {
        const TensorInfo& read = header.tensors()[i];
        const TensorPlan& planned = layout.tensors()[i];
        CAPTURE(planned.name);
        CHECK(read.name == planned.name);
        CHECK(read.type == planned.type);
        CHECK(read.n_dims == planned.shape.size());
        CHECK(read.offset == planned.offset);
        CHECK(read.size_bytes == planned.size_bytes);
        CHECK(read.offset == end);
        end = (end + read.size_bytes + 31) / 32 * 32;
    }
    CHECK(end == layout.file_size_bytes());
}

TEST_CASE("checksums can be patched in, other changes of size cannot", "[writer]") {
    Metadata metadata;
    const auto checksums = [](const std::string& checksum) {
        return MetadataArray{std::vector<std::string>{checksum}};
    };
    metadata.set(std::string(keys::kChecksums), checksums(std::string(keys::kPendingChecksum)));
    GgufLayout layout(std::move(metadata), {{.name = "w", .type = TensorType::F32, .shape = {8}}});
    const std::vector<std::byte> pending = layout.encode_header();
    layout.metadata().set(std::string(keys::kChecksums), checksums("0123456789abcdef0123456789abcdef"));
    const std::vector<std::byte> patched = layout.encode_header();
    REQUIRE(patched.size() == pending.size());
    CHECK(GgufHeader::parse(patched, layout.file_size_bytes()).strings(keys::kChecksums)[0] ==
          "0123456789abcdef0123456789abcdef");
    size_t n_different = 0;
    for (size_t i = 0; i < patched.size(); ++i) n_different += patched[i] != pending[i];
    CHECK(n_different == 30);  // two of the digits are zeros

    layout.metadata().set("another", std::string(64, 'x'));
    CHECK_THROWS_WITH(layout.encode_header(), ContainsSubstring("only values of unchanged size"));
    layout.metadata().erase("another");
    CHECK(layout.encode_header() == patched);
    layout.metadata().erase(keys::kChecksums);
    CHECK_THROWS_WITH(layout.encode_header(), ContainsSubstring("only values of unchanged size"));
}

TEST_CASE("what the reader or other readers would refuse is not written", "[writer]") {
    const auto layout = [](TensorPlan plan) { return GgufLayout(Metadata(), {std::move(plan)}); };
    CHECK_THROWS_WITH(layout({.name = "", .type = TensorType::F32, .shape = {1}}),
                      ContainsSubstring("no name"));
    CHECK_THROWS_WITH(layout({.name = std::string(64, 'n'), .type = TensorType::F32, .shape = {1}}),
                      ContainsSubstring("its name has 64 bytes; other readers allow 63"));
    CHECK_NOTHROW(layout({.name = std::string(63, 'n'), .type = TensorType::F32, .shape = {1}}));
    CHECK_THROWS_WITH(layout({.name = "\xff", .type = TensorType::F32, .shape = {1}}),
                      ContainsSubstring("UTF-8"));
    CHECK_THROWS_WITH(layout({.name = "w", .type = TensorType::F32, .shape = {}}),
                      ContainsSubstring("0 dimensions"));
    CHECK_THROWS_WITH(layout({.name = "w", .type = TensorType::F32, .shape = {1, 1, 1, 1, 1}}),
                      ContainsSubstring("tensor w: has 5 dimensions"));
    CHECK_THROWS_WITH(layout({.name = "w", .type = TensorType::Q4_K, .shape = {128, 2}}),
                      ContainsSubstring("tensor w: 128 elements are no whole number of Q4_K blocks"));
    CHECK_THROWS_WITH(layout({.name = "w", .type = TensorType::F32, .shape = {1u << 31, 1u << 31, 4}}),
                      ContainsSubstring("more than 2^63 elements"));
    CHECK_THROWS_WITH(layout({.name = "w", .type = TensorType::F64, .shape = {uint64_t(1) << 62}}),
                      ContainsSubstring("more than 2^64 bytes"));
    CHECK_THROWS_WITH(layout({.name = "w", .type = TensorType(4), .shape = {32}}),
                      ContainsSubstring("type 4"));
    CHECK_THROWS_WITH(GgufLayout(Metadata(), {{.name = "w", .type = TensorType::F32, .shape = {1}},
                                              {.name = "w", .type = TensorType::F32, .shape = {2}}}),
                      ContainsSubstring("tensor w: occurs twice"));
    const uint64_t half = uint64_t(1) << 61;  // floats: 2^63 bytes
    const TensorPlan huge{.name = "a", .type = TensorType::F32, .shape = {half}};
    const TensorPlan other{.name = "b", .type = TensorType::F32, .shape = {half}};
    CHECK_THROWS_WITH(GgufLayout(Metadata(), {huge, other}), ContainsSubstring("would exceed 2^64 bytes"));

    Metadata metadata;
    CHECK_THROWS_WITH(metadata.set("", uint32_t(1)), ContainsSubstring("key is empty"));
    CHECK_THROWS_WITH(metadata.set(std::string(65537, 'k'), uint32_t(1)), ContainsSubstring("65,536"));
    CHECK_THROWS_WITH(metadata.set("\x80", uint32_t(1)), ContainsSubstring("UTF-8"));
    metadata.set("general.alignment", uint32_t(24));
    CHECK_THROWS_WITH(GgufLayout(metadata, {}), ContainsSubstring("is 24; expected a power of two"));
    metadata.set("general.alignment", uint64_t(32));
    CHECK_THROWS_WITH(GgufLayout(metadata, {}), ContainsSubstring("expected uint32"));

    MetadataArray nested{std::vector<uint8_t>{}};
    for (uint32_t depth = 1; depth < kMaxArrayDepth; ++depth) nested = {std::vector<MetadataArray>{nested}};
    metadata.erase("general.alignment");
    metadata.set("nested", nested);
    CHECK_NOTHROW(GgufHeader::parse(GgufLayout(metadata, {}).encode_header()));
    metadata.set("nested", MetadataArray{std::vector<MetadataArray>{nested}});
    CHECK_THROWS_WITH(GgufLayout(metadata, {}),
                      ContainsSubstring("key nested: arrays are nested more than 64"));
}

TEST_CASE("metadata keeps its order and replaces in place", "[writer]") {
    Metadata metadata;
    metadata.set("a", uint32_t(1));
    metadata.set("b", "text");
    metadata.set("c", true);
    metadata.set("a", "replaced");
    REQUIRE(metadata.entries().size() == 3);
    CHECK(metadata.entries()[0].first == "a");
    CHECK(std::get<std::string>(*metadata.find("a")) == "replaced");
    CHECK(metadata.erase("b"));
    CHECK_FALSE(metadata.erase("b"));
    CHECK(metadata.find("b") == nullptr);
    CHECK(metadata.entries().size() == 2);
    CHECK(std::get<bool>(*metadata.find("c")));

    SECTION("however many there are, in linear time") {
        constexpr uint32_t kMany = 300'000;
        const std::clock_t start = std::clock();
        for (uint32_t i = 0; i < kMany; ++i) metadata.set(fmt::format("key.{}", i), i);
        for (uint32_t i = 0; i < kMany; ++i) metadata.set(fmt::format("key.{}", i), i + 1);
        CHECK(double(std::clock() - start) / CLOCKS_PER_SEC < 5);
        CHECK(metadata.entries().size() == 2 + kMany);
        CHECK(std::get<uint32_t>(*metadata.find("key.299999")) == kMany);
        CHECK(std::get<uint32_t>(metadata.entries()[2].second) == 1);
    }
}

}  // namespace ingot::test

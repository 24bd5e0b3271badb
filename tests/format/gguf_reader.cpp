// What a well-formed header says, value by value, and real files.
#include "format/gguf.h"

#include <filesystem>

#include "tests/catch.h"
#include "tests/format/gguf_bytes.h"

namespace ingot::test {
namespace {

/// Bytes and their header, which refers to them.
struct Parsed {
    std::vector<std::byte> bytes;
    GgufHeader header;
    explicit Parsed(const GgufBytes& file) : bytes(file.bytes()), header(GgufHeader::parse(bytes)) {}
};

}  // namespace

TEST_CASE("every value type is read as it was written", "[gguf]") {
    GgufBytes file(0, 12);
    file.key("u8", ValueType::Uint8).u8(200).key("i8", ValueType::Int8).u8(0x80);
    file.key("u16", ValueType::Uint16).text("\xff\xfe").key("i16", ValueType::Int16).text("\xff\xfe");
    file.key_u32("u32", 0xfffffffe).key("i32", ValueType::Int32).u32(0xfffffffe);
    file.key("u64", ValueType::Uint64).u64(UINT64_MAX).key("i64", ValueType::Int64).u64(UINT64_MAX);
    file.key("f32", ValueType::Float32).f32(-1.25f).key("f64", ValueType::Float64).u64(0x3ff8000000000000);
    file.key("bool", ValueType::Bool).u8(1).key("string", ValueType::String).string("text");
    const Parsed parsed(file);
    const auto value = [&](std::string_view key) {
        REQUIRE(parsed.header.find(key) != nullptr);
        return *parsed.header.find(key);
    };
    CHECK(value("u8").as_uint() == 200);
    CHECK(value("i8").as_int() == -128);
    CHECK(value("u16").as_uint() == 0xfeff);
    CHECK(value("i16").as_int() == -257);
    CHECK(value("u32").as_uint() == 0xfffffffe);
    CHECK(value("i32").as_int() == -2);
    CHECK(value("u64").as_uint() == UINT64_MAX);
    CHECK(value("i64").as_int() == -1);
    CHECK(value("f32").as_float() == -1.25);
    CHECK(value("f64").as_float() == 1.5);
    CHECK(value("bool").as_bool());
    CHECK(value("string").as_string() == "text");
    CHECK(parsed.header.metadata().size() == 12);
    CHECK(parsed.header.metadata()[11].key == "string");
    CHECK(parsed.header.find("absent") == nullptr);

    SECTION("integers convert where the number fits") {
        CHECK(value("u8").as_int() == 200);
        CHECK(value("u32").as_float() == 4294967294.0);
        CHECK_THROWS_WITH(value("i8").as_uint(), ContainsSubstring("is -128; expected an integer from 0 to"));
        CHECK_THROWS_WITH(value("u64").as_int(), ContainsSubstring("is 18446744073709551615"));
        CHECK_THROWS_WITH(value("f32").as_int(), ContainsSubstring("is of type float32 (-1.25)"));
        CHECK_THROWS_WITH(value("bool").as_uint(), ContainsSubstring("is of type bool; expected an integer"));
        CHECK_THROWS_WITH(value("string").as_float(),
                          ContainsSubstring("is of type string; expected a number"));
        CHECK_THROWS_WITH(value("u8").as_bool(), ContainsSubstring("is of type uint8; expected a bool"));
        CHECK_THROWS_WITH(value("u8").as_string(), ContainsSubstring("expected a string"));
        CHECK_THROWS_WITH(value("u8").elements(), ContainsSubstring("expected an array"));
    }
    SECTION("typed access names the key") {
        const GgufHeader& header = parsed.header;
        CHECK(header.get_uint("u8") == 200);
        CHECK(header.get_uint("absent") == std::nullopt);
        CHECK(header.get_float("f32") == -1.25);
        CHECK(header.get_bool("bool") == true);
        CHECK(header.get_string("string") == "text");
        CHECK(header.require_string("string") == "text");
        CHECK_THROWS_WITH(header.get_uint("i8"), ContainsSubstring("key i8: is -128"));
        CHECK_THROWS_WITH(header.get_bool("string"), ContainsSubstring("key string: is of type string"));
        CHECK_THROWS_WITH(header.require_uint("absent"), ContainsSubstring("key absent: is missing"));
        CHECK_THROWS_WITH(header.require_float("string"), ContainsSubstring("key string: is of type string"));
        CHECK_THROWS_WITH(header.strings("string"),
                          ContainsSubstring("key string: is of type string; expected an array"));
        CHECK(header.strings("absent").empty());
    }
}

TEST_CASE("arrays are read element by element, nested ones too", "[gguf]") {
    GgufBytes file(0, 5);
    file.key_array("floats", ValueType::Float32, 3).f32(1).f32(-2).f32(0.5f);
    file.key_array("bytes", ValueType::Int8, 3).u8(1).u8(0xff).u8(0x80);
    file.key_array("strings", ValueType::String, 3).string("a").string("").string("\xff");
    file.key_array("empty", ValueType::String, 0);
    file.key_array("nested", ValueType::Array, 3);
    file.type(ValueType::String).u64(2).string("deep").string("er");
    file.type(ValueType::Uint32).u64(1).u32(42);
    file.type(ValueType::Array).u64(1).type(ValueType::Bool).u64(2).u8(1).u8(0);
    const Parsed parsed(file);
    const GgufHeader& header = parsed.header;

    CHECK(header.floats("floats") == std::vector<float>{1, -2, 0.5f});
    CHECK(header.ints("bytes") == std::vector<int64_t>{1, -1, -128});
    CHECK(header.strings("strings") == std::vector<std::string_view>{"a", "", "\xff"});
    CHECK(header.strings("empty").empty());
    CHECK_THROWS_WITH(header.floats("bytes"),
                      ContainsSubstring("key bytes: is an array of int8; expected an array of floats"));
    CHECK_THROWS_WITH(header.ints("floats"), ContainsSubstring("expected an array of integers"));
    CHECK_THROWS_WITH(header.strings("nested"), ContainsSubstring("is an array of array"));

    const Value* nested = header.find("nested");
    REQUIRE(nested->count() == 3);
    REQUIRE(nested->element_type() == ValueType::Array);
    std::vector<Value> inner;
    for (const Value value : nested->elements()) inner.push_back(value);
    REQUIRE(inner.size() == 3);
    CHECK(inner[0].count() == 2);
    CHECK((*++inner[0].elements().begin()).as_string() == "er");
    CHECK((*inner[1].elements().begin()).as_uint() == 42);
    const Value innermost = *inner[2].elements().begin();
    CHECK(innermost.count() == 2);
    CHECK(innermost.encoded().size() == 2);
    CHECK((*innermost.elements().begin()).as_bool());
}

TEST_CASE("tensors are found by name with their place in the file", "[gguf]") {
    GgufBytes file(3, 1, 2);
    file.key_u32("general.alignment", 64);
    file.tensor("token_embd.weight", {256, 4}, uint32_t(TensorType::Q4_K), 0);
    file.tensor("scalar", {}, 0, 1024).tensor("cube", {2, 3, 4}, uint32_t(TensorType::F16), 576);
    const size_t header_bytes = file.size();
    file.pad(64).zeros(1028);
    const Parsed parsed(file);
    const GgufHeader& header = parsed.header;
    CHECK(header.version() == 2);
    CHECK(header.data_offset() == (header_bytes + 63) / 64 * 64);
    REQUIRE(header.tensors().size() == 3);

    const TensorInfo* embedding = header.find_tensor("token_embd.weight");
    REQUIRE(embedding == &header.tensors()[0]);
    CHECK(embedding->type == TensorType::Q4_K);
    CHECK(embedding->n_dims == 2);
    CHECK(embedding->row_elements() == 256);
    CHECK(embedding->n_rows() == 4);
    CHECK(embedding->size_bytes == 4 * 144);
    CHECK(embedding->offset == header.data_offset());
    const TensorInfo* scalar = header.find_tensor("scalar");
    REQUIRE(scalar != nullptr);
    CHECK(scalar->n_elements == 1);
    CHECK(scalar->size_bytes == 4);
    const TensorInfo* cube = header.find_tensor("cube");
    REQUIRE(cube != nullptr);
    CHECK(cube->shape == std::array<uint64_t, 4>{2, 3, 4, 1});
    CHECK(cube->n_rows() == 12);
    CHECK(cube->offset == header.data_offset() + 576);
    CHECK(header.find_tensor("cub") == nullptr);
    CHECK(header.find_tensor("") == nullptr);
}

TEST_CASE("a default-constructed header knows nothing", "[gguf]") {
    const GgufHeader header;
    CHECK(header.find("general.architecture") == nullptr);
    CHECK(header.find_tensor("output.weight") == nullptr);
}

TEST_CASE("names in messages are shortened and cannot drive a terminal", "[gguf]") {
    CHECK(printable("blk.0.attn_q.weight") == "blk.0.attn_q.weight");
    CHECK(printable("\x1b[2J\n") == "\\x1b[2J\\x0a");
    const std::string long_name(1000, 'x'), start = long_name.substr(0, 99);
    CHECK(printable(long_name) == fmt::format("{}x... (1,000 bytes)", start));
    CHECK(printable(fmt::format("{}\u00e9\u00e9", start)) == fmt::format("{}... (103 bytes)", start));
    CHECK(grouped(0) == "0");
    CHECK(grouped(999) == "999");
    CHECK(grouped(1000) == "1,000");
    CHECK(grouped(UINT64_MAX) == "18,446,744,073,709,551,615");
}

TEST_CASE("real vocabulary files are read", "[gguf][real]") {
    // name, tokens, merges: as gguf-py reads them
    struct Expected {
        const char* name;
        size_t n_keys, n_tokens, n_merges;
        const char* model;
    };
    const std::filesystem::path folder = std::filesystem::path(INGOT_SOURCE_DIR) / "../shared/data/vocab";
    if (!std::filesystem::exists(folder)) {
        WARN("skipped: there is no " << folder);
        return;
    }
    for (const Expected& expected : {Expected{"llama-spm", 22, 32000, 0, "llama"},
                                     {"gpt-2", 16, 50257, 50000, "gpt2"},
                                     {"deepseek-coder", 25, 32256, 31757, "gpt2"},
                                     {"phi-3", 26, 32064, 0, "llama"},
                                     {"bert-bge", 20, 30522, 0, "bert"}}) {
        CAPTURE(expected.name);
        const GgufFile file(folder / fmt::format("ggml-vocab-{}.gguf", expected.name));
        const GgufHeader& header = file.header();
        CHECK(header.version() == 3);
        CHECK(header.tensors().empty());
        CHECK(header.data_offset() == file.bytes().size());
        CHECK(header.metadata().size() == expected.n_keys);
        CHECK(header.strings("tokenizer.ggml.tokens").size() == expected.n_tokens);
        CHECK(header.strings("tokenizer.ggml.merges").size() == expected.n_merges);
        CHECK(header.ints("tokenizer.ggml.token_type").size() == expected.n_tokens);
        CHECK(header.require_string("tokenizer.ggml.model") == expected.model);

        // Cut anywhere in its text, it is refused. (Every byte would take minutes; a prime step visits all
        // phases.)
        for (size_t size = 0; size < file.bytes().size(); size += 65'537) {
            CHECK_THROWS_AS(GgufHeader::parse(file.bytes().first(size)), Error);
        }
        CHECK_THROWS_AS(GgufHeader::parse(file.bytes().first(file.bytes().size() - 1)), Error);
    }
}

}  // namespace ingot::test

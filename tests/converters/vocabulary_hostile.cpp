// HOSTILE_INPUT rows 36, 38, 42, 43: tokenizer files that must not be believed.
#include <cmath>
#include <cstring>
#include <limits>

#include "converters/vocabulary/sentencepiece_model.h"
#include "converters/vocabulary/tokenizer_json.h"
#include "format/error.h"
#include "format/mapped_file.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::converters;

namespace {

std::string varint(uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += char(0x80 | (value & 0x7f));
    return bytes += char(value);
}
std::string integer(uint32_t field, uint64_t value) {
    return varint(field << 3) + varint(value);
}
std::string bytes(uint32_t field, const std::string& value) {
    return varint(field << 3 | 2) + varint(value.size()) + value;
}
std::string fixed(uint32_t field, float value) {
    std::string raw(4, '\0');
    std::memcpy(raw.data(), &value, 4);
    return varint(field << 3 | 5) + raw;
}
std::string piece(const std::string& text, float score = 0, uint64_t type = 1) {
    return bytes(1, bytes(1, text) + fixed(2, score) + integer(3, type));
}
std::string small_model() {
    return piece("<unk>", 0, 2) + piece("a", -1) + bytes(2, integer(3, 2)) + bytes(3, bytes(1, "identity"));
}
SentencePieceModel parse(const std::string& model) {
    return parse_sentencepiece_model(std::as_bytes(std::span(model)), "tokenizer.model");
}
std::string unit(uint32_t value) {
    std::string raw(4, '\0');
    std::memcpy(raw.data(), &value, 4);
    return raw;
}

}  // namespace

TEST_CASE("a small SentencePiece model is read") {
    const SentencePieceModel model = parse(small_model());
    REQUIRE(model.pieces.size() == 2);
    CHECK(model.pieces[1].text == "a");
    CHECK(model.pieces[1].score == -1.0f);
    CHECK(model.kind == SentencePieceModel::Kind::Bpe);
    CHECK(model.normalizer_name == "identity");
    CHECK(model.charsmap.empty());
}

TEST_CASE("a SentencePiece model is cut anywhere") {  // row 42
    const std::string model = small_model();
    size_t n_errors = 0;
    for (size_t size_bytes = 0; size_bytes < model.size(); ++size_bytes) {
        try {
            parse(model.substr(0, size_bytes));  // at the end of a field it may still be a model
        } catch (const Error&) {
            ++n_errors;
        }
    }
    CHECK(n_errors > model.size() / 2);
    CHECK_THROWS_AS(parse(""), Error);
}

TEST_CASE("a SentencePiece model with any one byte changed is read or refused, never more") {  // row 42
    const MappedFile file(std::string(INGOT_SOURCE_DIR) + "/tests/data/tolstoy-5m/tokenizer.model");
    std::string model(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
    size_t n_read = 0, n_refused = 0;
    for (size_t at = 0; at < model.size(); at += 997) {
        const char before = model[at];
        for (const int changed : {0, 0x7f, 0x80, 0xff}) {
            model[at] = char(changed);
            try {
                n_read += parse(model).pieces.size() > 0;
            } catch (const Error&) {
                ++n_refused;
            }
        }
        model[at] = before;
    }
    CHECK(n_read > 0);
    CHECK(n_refused > 0);
}

TEST_CASE("lengths and numbers in a SentencePiece model lie") {  // row 42
    for (const uint64_t size_bytes : {uint64_t(100), uint64_t(1) << 31, uint64_t(1) << 32, UINT64_MAX}) {
        CHECK_THROWS_WITH(parse(varint(1 << 3 | 2) + varint(size_bytes) + "abc"),
                          ContainsSubstring("claims"));
    }
    CHECK_THROWS_WITH(parse(std::string(11, '\xff')), ContainsSubstring("longer than 10 bytes"));
    CHECK_THROWS_WITH(parse(varint(0 << 3 | 2) + varint(0)), ContainsSubstring("field number 0"));
    for (const uint32_t wire_type : {3u, 4u, 6u, 7u}) {
        CHECK_THROWS_WITH(parse(varint(1 << 3 | wire_type)), ContainsSubstring("wire type"));
    }
    CHECK_THROWS_WITH(parse(integer(1, 5)), ContainsSubstring("another form"));
    CHECK_THROWS_WITH(parse(bytes(2, bytes(3, "x"))), ContainsSubstring("another form"));
}

TEST_CASE("pieces are empty, doubled, not UTF-8, enormous, of no type, or have no score") {  // row 42
    const std::string unknown = piece("<unk>", 0, 2);
    CHECK_THROWS_WITH(parse(unknown + piece("")), ContainsSubstring("no text"));
    CHECK_THROWS_WITH(parse(unknown + piece("a") + piece("a")), ContainsSubstring("twice"));
    CHECK_THROWS_WITH(parse(unknown + piece("\xff")), ContainsSubstring("UTF-8"));
    CHECK_THROWS_WITH(parse(unknown + piece(std::string(70000, 'a'))), ContainsSubstring("70000"));
    CHECK_THROWS_WITH(parse(unknown + piece("a", 0, 7)), ContainsSubstring("type 7"));
    CHECK_THROWS_WITH(parse(unknown + piece("a", 0, 0)), ContainsSubstring("type 0"));
    CHECK_THROWS_WITH(parse(unknown + piece("a", std::nanf(""))), ContainsSubstring("not a number"));
    CHECK_THROWS_WITH(parse(piece("a")), ContainsSubstring("unknown"));
    CHECK_THROWS_WITH(parse(unknown + piece("b", 0, 2)), ContainsSubstring("unknown"));
    CHECK_THROWS_WITH(parse(small_model() + bytes(2, integer(41, 99))), ContainsSubstring("99"));
}

TEST_CASE("a byte piece does not name a byte") {  // row 36
    for (const char* text : {"<0x-1>", "<0xZZ>", "<0x100>", "<0x4>", "A"}) {
        CHECK_THROWS_WITH(parse(piece("<unk>", 0, 2) + piece(text, 0, 6)), ContainsSubstring("type byte"));
    }
    CHECK_NOTHROW(parse(piece("<unk>", 0, 2) + piece("<0x4A>", 0, 6)));
}

TEST_CASE("the normalizer's character map is too short, or points outside itself") {  // row 38
    const auto with_map = [](const std::string& map) { return small_model() + bytes(3, bytes(2, map)); };
    for (size_t size_bytes = 1; size_bytes <= 4; ++size_bytes) {
        CHECK_THROWS_WITH(parse(with_map(std::string(size_bytes, '\0'))), ContainsSubstring("character map"));
    }
    const std::string texts = std::string("xyz\0", 4);
    for (const uint32_t trie_bytes : {3u, 8u, 12u, 1u << 31, UINT32_MAX}) {
        CHECK_THROWS_WITH(parse(with_map(unit(trie_bytes) + unit(0) + texts)),
                          ContainsSubstring("claims a trie"));
    }
    CHECK_THROWS_WITH(parse(with_map(unit(4) + unit(0x80000004) + texts)),
                      ContainsSubstring("points to byte 4"));
    CHECK_THROWS_WITH(parse(with_map(unit(4) + unit(0xffffffff) + texts)),
                      ContainsSubstring("points to byte"));
    CHECK_THROWS_WITH(parse(with_map(unit(4) + unit(0) + "xyz")), ContainsSubstring("NUL"));
    CHECK_FALSE(parse(with_map(unit(4) + unit(0x80000003) + texts)).charsmap.empty());
}

TEST_CASE("tokenizer.json is nested deeply, has doubled keys, or another form") {  // row 43
    const auto json = [](const std::string& text) { return TokenizerJson::parse(text, "tokenizer.json"); };
    for (const size_t depth : {size_t(65), size_t(1000), size_t(1000000)}) {
        CHECK_THROWS_WITH(json("{\"model\": " + std::string(depth, '[') + std::string(depth, ']') + "}"),
                          ContainsSubstring("deeper"));
    }
    const auto model = [](const std::string& inside) {
        return R"({"model": {"type": "BPE", )" + inside + "}}";
    };
    CHECK_THROWS_WITH(json(model(R"("vocab": {"a": 0, "a": 1})")), ContainsSubstring("\"a\" appears twice"));
    CHECK_THROWS_WITH(json(R"({"model": {}, "model": {}})"), ContainsSubstring("twice"));
    for (const char* id : {"-1", "1.5", "\"1\"", "4294967296", "null"}) {
        CHECK_THROWS_WITH(json(model(std::string(R"("vocab": {"a": )") + id + "}")),
                          ContainsSubstring("\"a\""));
    }
    for (const char* merge : {"\"ab\"", "\"a \"", "[\"a\"]", "[\"a\", 1]", "[\"a\", \"b\", \"c\"]", "7"}) {
        CHECK_THROWS_WITH(json(model(std::string(R"("vocab": {"a": 0}, "merges": [)") + merge + "]")),
                          ContainsSubstring("merges[0]"));
    }
    for (const char* text :
         {"", "[]", "{}", "{\"model\": 3}", "{\"model\": {\"type\": \"BPE\"}}", "{\"model\": "}) {
        CHECK_THROWS_AS(json(text), Error);
    }
}

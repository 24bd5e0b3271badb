// HOSTILE_INPUT rows 33–37 and 45: vocabularies that must not be believed.
#include "format/error.h"
#include "tests/catch.h"
#include "tests/runtime/vocabulary_header.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

Metadata with(const char* key, MetadataValue value, const char* model = "llama") {
    Metadata metadata =
        (std::string(model) == "llama" ? small_sentencepiece() : small_byte_level()).metadata(model);
    if (std::string(model) == "gpt2") metadata.set("tokenizer.ggml.pre", "gpt-2");
    metadata.set(key, std::move(value));
    return metadata;
}

template <typename T>
MetadataValue array(size_t n, T value = {}) {
    return MetadataArray{std::vector<T>(n, value)};
}

}  // namespace

TEST_CASE("there are fewer scores than tokens, or more") {  // row 33
    const size_t n = small_sentencepiece().tokens.size();
    for (const size_t wrong : {size_t(0), size_t(1), n - 1, n + 1}) {
        CHECK_THROWS_WITH(
            TokenizerInMemory(with("tokenizer.ggml.scores", array<float>(wrong))),
            ContainsSubstring("tokenizer.ggml.scores") && ContainsSubstring(std::to_string(wrong)));
    }
}

TEST_CASE("there are fewer token types than tokens, or more") {  // row 33
    const size_t n = small_sentencepiece().tokens.size();
    for (const size_t wrong : {size_t(1), n - 1, n + 1}) {
        CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.token_type", array<int32_t>(wrong, 1))),
                          ContainsSubstring("tokenizer.ggml.token_type"));
    }
}

TEST_CASE("scores are an array of another type") {  // row 34
    const size_t n = small_sentencepiece().tokens.size();
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.scores", array<int8_t>(n))),
                      ContainsSubstring("int8"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.scores", array<std::string>(n))),
                      ContainsSubstring("string"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.scores", array<double>(n))),
                      ContainsSubstring("float64"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.scores", 1.0f)),
                      ContainsSubstring("expected an array"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.scores", array<float>(n, std::nanf("")))),
                      ContainsSubstring("not a number"));
}

TEST_CASE("token types are an array of another type, or out of range") {  // row 34
    const size_t n = small_sentencepiece().tokens.size();
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.token_type", array<uint8_t>(n, 1))),
                      ContainsSubstring("uint8"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.token_type", array<float>(n, 1))),
                      ContainsSubstring("float32"));
    for (const int32_t wrong : {-1, 7, INT32_MAX}) {
        CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.token_type", array<int32_t>(n, wrong))),
                          ContainsSubstring(std::to_string(wrong)));
    }
}

TEST_CASE("tokens are no array of strings") {  // row 34
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.tokens", array<int32_t>(9))),
                      ContainsSubstring("tokenizer.ggml.tokens"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.tokens", std::string("a b"))),
                      ContainsSubstring("tokenizer.ggml.tokens"));
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.tokens", array<std::string>(0))),
                      ContainsSubstring("no vocabulary"));
}

TEST_CASE("a special token's id is outside the vocabulary") {  // row 35
    const uint32_t n = uint32_t(small_sentencepiece().tokens.size());
    for (const char* key :
         {"bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "mask", "fim_pre"}) {
        const std::string full = std::string("tokenizer.ggml.") + key + "_token_id";
        for (const uint32_t wrong : {n, n + 1, UINT32_MAX}) {
            CHECK_THROWS_WITH(TokenizerInMemory(with(full.c_str(), wrong)), ContainsSubstring(full));
        }
    }
    CHECK_NOTHROW(TokenizerInMemory(with("tokenizer.ggml.bos_token_id", n - 1)));
    CHECK_THROWS_AS(TokenizerInMemory(with("tokenizer.ggml.bos_token_id", int32_t(-1))), Error);
    CHECK_THROWS_AS(TokenizerInMemory(with("ingot.tokenizer.end_of_generation", array<uint32_t>(2, n))),
                    Error);
}

TEST_CASE("a byte token does not name a byte") {  // row 36
    for (const char* text : {"<0x-1>", "<0xZZ>", "<0x100>", "<0x>", "", "<0x4G>", "0x41"}) {
        SmallVocabulary vocabulary = small_sentencepiece();
        vocabulary.tokens[10] = text;
        CHECK_THROWS_WITH(TokenizerInMemory(vocabulary.metadata("llama")), ContainsSubstring("type byte"));
    }
}

TEST_CASE("a token's text is enormous") {  // row 37
    for (const size_t size_bytes : {size_t(64 << 10) + 1, size_t(1 << 20), size_t(40 << 20)}) {
        SmallVocabulary vocabulary = small_sentencepiece();
        vocabulary.tokens.back() = std::string(size_bytes, 'x');
        CHECK_THROWS_WITH(TokenizerInMemory(vocabulary.metadata("llama")),
                          ContainsSubstring(std::to_string(size_bytes)));
    }
}

TEST_CASE("merges are missing or malformed") {
    const auto merges = [](std::vector<std::string> list) {
        return with("tokenizer.ggml.merges", MetadataArray{std::move(list)}, "gpt2");
    };
    for (const char* wrong : {"", "ab", "a", " ", "a ", "ab "}) {
        CHECK_THROWS_WITH(TokenizerInMemory(merges({"a b", wrong})), ContainsSubstring("element 1"));
    }
    CHECK_THROWS_WITH(TokenizerInMemory(with("tokenizer.ggml.merges", array<int32_t>(3), "gpt2")),
                      ContainsSubstring("tokenizer.ggml.merges"));
    Metadata without = with("tokenizer.ggml.pre", std::string("gpt-2"), "gpt2");
    without.erase("tokenizer.ggml.merges");
    CHECK_THROWS_WITH(TokenizerInMemory(without), ContainsSubstring("tokenizer.ggml.merges is missing"));
}

TEST_CASE("merges may pass through texts that are no tokens") {
    SmallVocabulary vocabulary = small_byte_level();
    vocabulary.merges = {"a b", "ab c"};
    vocabulary.add("abc");
    Metadata metadata = vocabulary.metadata("gpt2");
    metadata.set("tokenizer.ggml.pre", "gpt-2");
    const TokenizerInMemory tokenizer(metadata);
    CHECK(tokenizer->encode("abc", false, false) == std::vector<Token>{vocabulary.id("abc")});
    CHECK(tokenizer->encode("abd", false, false) ==
          std::vector<Token>{vocabulary.id("a"), vocabulary.id("b"), vocabulary.id("d")});
}

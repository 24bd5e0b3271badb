// The tokenizer of an exported checkpoint: from keys, Ingot's own or those of files made elsewhere, to
// tokenizer.json. tests/interop/tokenizer_parity.py compares ids with the libraries that read it.
#include "converters/export/tokenizer.h"

#include <map>

#include "converters/sources/json.h"
#include "converters/vocabulary/base64.h"
#include "converters/vocabulary/decimals.h"
#include "converters/vocabulary/oniguruma.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::converters;

namespace {

using Texts = std::vector<std::string>;

/// What is exported of a file with these keys.
std::map<std::string, std::string> exported(const Metadata& metadata, Findings& findings) {
    const std::vector<std::byte> bytes = GgufLayout(metadata, {}).encode_header();
    std::map<std::string, std::string> files;
    for (auto& [name, content] : exported_tokenizer(GgufHeader::parse(bytes), findings))
        files.emplace(name, content);
    return files;
}

std::string tokenizer_json_of(const Metadata& metadata) {
    Findings findings;
    const auto files = exported(metadata, findings);
    INFO(fmt::format("{}", fmt::join(findings.messages(Severity::Warning), "\n")));
    REQUIRE(files.contains("tokenizer.json"));
    CHECK(files.contains("tokenizer_config.json"));
    Json::parse(files.at("tokenizer.json"), "tokenizer.json");  // is JSON
    return files.at("tokenizer.json");
}

std::string warning_of(const Metadata& metadata) {
    Findings findings;
    CHECK(exported(metadata, findings).empty());
    const auto warnings = findings.messages(Severity::Warning);
    REQUIRE(warnings.size() == 1);
    return warnings.front();
}

Metadata keys_of(const std::string& ggml_model, const Texts& tokens) {
    Metadata metadata;
    metadata.set("tokenizer.ggml.model", ggml_model);
    metadata.set("tokenizer.ggml.tokens", MetadataArray{tokens});
    return metadata;
}

void set_texts(Metadata& metadata, std::string_view key, const Texts& texts) {
    metadata.set(std::string(key), MetadataArray{texts});
}

}  // namespace

TEST_CASE("WordPiece from elsewhere: BERT's steps, and the prefix back in front of what continues a word") {
    Metadata metadata = keys_of("bert", {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁he", "llo"});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<int32_t>{3, 2, 3, 3, 1, 1}});
    metadata.set("tokenizer.ggml.bos_token_id", uint32_t(2));
    metadata.set("tokenizer.ggml.seperator_token_id", uint32_t(3));
    metadata.set("tokenizer.ggml.normalizer.lowercase", false);
    const std::string text = tokenizer_json_of(metadata);
    CHECK_THAT(text, ContainsSubstring(R"("type": "WordPiece")"));
    CHECK_THAT(text, ContainsSubstring(R"("he": 4)") && ContainsSubstring(R"("##llo": 5)") &&
                         ContainsSubstring(R"("[CLS]": 2)"));
    CHECK_THAT(text, ContainsSubstring(R"("unk_token": "[UNK]")"));
    CHECK_THAT(text, ContainsSubstring(R"("type": "BertPreTokenizer")"));
    CHECK_THAT(text, ContainsSubstring(R"("strip_accents": false, "lowercase": false)"));
    CHECK_THAT(text, ContainsSubstring(R"("content": "[SEP]", "single_word": false)"));
}

TEST_CASE("Unigram: exact scores, the map of characters, and steps in their order") {
    Metadata metadata = keys_of("t5", {"<unk>", "▁a", "b", "[PAD3]"});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<int32_t>{2, 1, 1, 5}});
    metadata.set("tokenizer.ggml.scores", MetadataArray{std::vector<float>{0, -1, -2, -3}});
    metadata.set("tokenizer.ggml.precompiled_charsmap", MetadataArray{std::vector<uint8_t>{1, 2, 3, 4}});
    metadata.set(std::string(keys::kTokenizerModel), "unigram");
    metadata.set(std::string(keys::kTokenizerScores),
                 MetadataArray{std::vector<double>{0, -1.0000000000000002, -2.5, -3}});
    set_texts(metadata, keys::kTokenizerOptions, {"unk=0"});
    set_texts(metadata, keys::kTokenizerNormalizers, {"charsmap", "replace\t {2,}\t "});
    set_texts(metadata, keys::kTokenizerPreTokenizers,
              {"metaspace\talways\t▁", "split\twith_next\t\\x{2581}"});
    const std::string text = tokenizer_json_of(metadata);
    CHECK_THAT(text,
               ContainsSubstring(R"(["▁a", -1.0000000000000002])") && ContainsSubstring(R"(["b", -2.5])"));
    CHECK_THAT(text, !ContainsSubstring("[PAD3]"));
    CHECK_THAT(text, ContainsSubstring(R"("unk_id": 0)"));
    CHECK_THAT(text, ContainsSubstring(R"("precompiled_charsmap": "AQIDBA==")"));
    CHECK_THAT(text, ContainsSubstring(R"("prepend_scheme": "always", "split": true)"));
}

TEST_CASE("A tokenizer that has no form is left out, with the reason") {
    CHECK_THAT(warning_of(keys_of("rwkv", {"a"})), ContainsSubstring("of the kind \"rwkv\""));
    CHECK_THAT(warning_of(Metadata()), ContainsSubstring("no tokenizer.ggml.tokens"));
    Metadata metadata = keys_of("word_level", {"a", "b"});
    metadata.set(std::string(keys::kTokenizerModel), "word_level");
    set_texts(metadata, keys::kTokenizerNormalizers, {"surprise"});
    CHECK_THAT(warning_of(metadata), ContainsSubstring("its step \"surprise\" has no form"));
    set_texts(metadata, keys::kTokenizerNormalizers, {"nfc"});
    for (const char* entry : {"2 s x", "", "1", "1 s", "-1 s x", "x s x"}) {
        set_texts(metadata, keys::kTokenizerAdded, {entry});
        CHECK_THAT(warning_of(metadata), ContainsSubstring("the file is damaged"));
    }
    set_texts(metadata, keys::kTokenizerAdded, {"1 s x y"});
    metadata.set(std::string(keys::kTokenizerBefore), MetadataArray{std::vector<uint32_t>{7}});
    CHECK_THAT(warning_of(metadata), ContainsSubstring("token 7; there are 2"));
    metadata.set(std::string(keys::kTokenizerBefore), MetadataArray{std::vector<uint32_t>{1}});
    CHECK_THAT(tokenizer_json_of(metadata), ContainsSubstring(R"("content": "x y")"));
}

TEST_CASE("base64, patterns and decimals go there and back") {
    for (const std::string text : {"", "a", "ab", "abc", "abcd", "\xff\xfe\x01"}) {
        const auto bytes = decode_base64(encode_base64(text));
        REQUIRE(bytes);
        CHECK(std::string(bytes->begin(), bytes->end()) == text);
    }
    CHECK(encode_base64("ab") == "YWI=");
    for (const std::string pattern : {R"(^a$)", R"((?m:.)b)", R"((?i:'s|'t)|\^[^\s\p{L}]+)", R"(a(?!\S))"})
        CHECK(oniguruma_pattern(*pcre2_pattern(pattern)) == pattern);
    for (double score = -1.2345678901234567; score > -20; score *= 1.0123456789) {
        const double read = as_tokenizers_reads(score);  // a score that a file can give
        CHECK(as_tokenizers_reads(number_that_tokenizers_reads_as(read)) == read);
    }
}

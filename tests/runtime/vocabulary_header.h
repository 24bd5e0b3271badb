#pragma once
// Headers with small vocabularies, built in memory through the writer.
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// A header and the bytes it views.
struct HeaderInMemory {
    std::vector<std::byte> bytes;
    GgufHeader header;

    explicit HeaderInMemory(const Metadata& metadata)
        : bytes(GgufLayout(metadata, {}).encode_header()), header(GgufHeader::parse(bytes)) {}
};

/// Keeps the header alive that the tokenizer points into.
struct TokenizerInMemory {
    HeaderInMemory file;
    std::unique_ptr<Tokenizer> tokenizer;

    explicit TokenizerInMemory(const Metadata& metadata)
        : file(metadata), tokenizer(Tokenizer::from_header(file.header)) {}
    Tokenizer* operator->() const { return tokenizer.get(); }
};

/// A vocabulary under construction: add() in the order of the ids.
struct SmallVocabulary {
    std::vector<std::string> tokens;
    std::vector<float> scores;
    std::vector<int32_t> types;
    std::vector<std::string> merges;

    SmallVocabulary& add(const std::string& text, float score = 0, int32_t type = 1) {
        tokens.push_back(text);
        scores.push_back(score);
        types.push_back(type);
        return *this;
    }
    Token id(const std::string& text) const {
        for (size_t i = 0; i < tokens.size(); ++i) {
            if (tokens[i] == text) return Token(i);
        }
        return -1;
    }
    Metadata metadata(const std::string& model) const {
        Metadata metadata;
        metadata.set("general.architecture", "llama");
        metadata.set("tokenizer.ggml.model", model);
        metadata.set("tokenizer.ggml.tokens", MetadataArray{tokens});
        metadata.set("tokenizer.ggml.token_type", MetadataArray{types});
        if (model == "llama") metadata.set("tokenizer.ggml.scores", MetadataArray{scores});
        if (model == "gpt2") metadata.set("tokenizer.ggml.merges", MetadataArray{merges});
        return metadata;
    }
};

/// <unk> <s> </s>, 256 byte tokens, then a few pieces that spell "hello world" and "ab" words.
inline SmallVocabulary small_sentencepiece() {
    SmallVocabulary vocabulary;
    vocabulary.add("<unk>", 0, 2).add("<s>", 0, 3).add("</s>", 0, 3);
    for (int byte = 0; byte < 256; ++byte) vocabulary.add(fmt::format("<0x{:02X}>", byte), 0, 6);
    float score = 0;
    for (const char* text : {"\u2581h", "el",        "\u2581hel",   "lo", "\u2581hello", "or",   "ld",
                             "\u2581w", "\u2581wor", "\u2581world", "ab", "abc",         "bc",   "\u2581",
                             "h",       "e",         "l",           "o",  "w",           "r",    "d",
                             "a",       "b",         "c",           "Z",  "ZZ",          "ZZZZ", "\u00e9"}) {
        vocabulary.add(text, score--);
    }
    return vocabulary;
}

/// All 256 bytes in GPT-2's alphabet, then merges for "hello" and " the".
inline SmallVocabulary small_byte_level() {
    SmallVocabulary vocabulary;
    int next = 256;
    for (int byte = 0; byte < 256; ++byte) {
        const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
        const int c = printable ? byte : next++;
        vocabulary.add(c < 0x80 ? std::string(1, char(c))
                                : std::string{char(0xc0 | (c >> 6)), char(0x80 | (c & 0x3f))});
    }
    for (const char* merge :
         {"h e", "l l", "he ll", "hell o", "\u0120 t", "\u0120t he", "Z Z", "ZZ ZZ"}) {
        vocabulary.merges.push_back(merge);
        std::string joined = merge;
        joined.erase(joined.find(' '), 1);
        vocabulary.add(joined);
    }
    return vocabulary;
}

}  // namespace ingot::runtime

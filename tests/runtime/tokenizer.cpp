#include "runtime/tokenizer/tokenizer.h"

#include <ctime>
#include <functional>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "tests/catch.h"
#include "tests/runtime/vocabulary_header.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

std::vector<std::string> texts_of(const Tokenizer& tokenizer, const std::vector<Token>& ids) {
    std::vector<std::string> texts;
    for (const Token id : ids) texts.emplace_back(tokenizer.token_text(id));
    return texts;
}

std::vector<std::string> pieces(const TokenizerInMemory& tokenizer, std::string_view text,
                                bool parse_special = false) {
    return texts_of(*tokenizer.tokenizer, tokenizer->encode(text, false, parse_special));
}

using Pieces = std::vector<std::string>;

Metadata byte_level_metadata(const SmallVocabulary& vocabulary, const char* pre = "gpt-2") {
    Metadata metadata = vocabulary.metadata("gpt2");
    metadata.set("tokenizer.ggml.pre", pre);
    return metadata;
}

/// Of processor time: other programs must not fail these tests.
double seconds(const std::function<void()>& work) {
    const std::clock_t start = std::clock();
    work();
    return double(std::clock() - start) / CLOCKS_PER_SEC;
}

}  // namespace

TEST_CASE("SentencePiece joins the neighbours with the best score first") {
    const TokenizerInMemory tokenizer(small_sentencepiece().metadata("llama"));
    CHECK(pieces(tokenizer, "hello world") == Pieces{"\u2581hello", "\u2581world"});
    // "ab" (score -10) is better than "bc" (-12); the three then make "abc".
    CHECK(pieces(tokenizer, "abc") == Pieces{"\u2581", "abc"});
    CHECK(pieces(tokenizer, "bcab") == Pieces{"\u2581", "bc", "ab"});
    CHECK(pieces(tokenizer, "  h") == Pieces{"\u2581", "\u2581", "\u2581h"});
    CHECK(pieces(tokenizer, "") == Pieces{});
}

TEST_CASE("a character that is no token becomes its bytes, and so does what is no UTF-8") {
    const TokenizerInMemory tokenizer(small_sentencepiece().metadata("llama"));
    CHECK(pieces(tokenizer, "\u00e9") == Pieces{"\u2581", "\u00e9"});
    CHECK(pieces(tokenizer, "\u4f60") == Pieces{"\u2581", "<0xE4>", "<0xBD>", "<0xA0>"});
    CHECK(pieces(tokenizer, "a\xff\xc3") == Pieces{"\u2581", "a", "<0xFF>", "<0xC3>"});
    CHECK(pieces(tokenizer, "\xe4\xbd") == Pieces{"\u2581", "<0xE4>", "<0xBD>"});
    CHECK(pieces(tokenizer, std::string("\0", 1)) == Pieces{"\u2581", "<0x00>"});
}

TEST_CASE("a run of characters without byte tokens is one unknown token") {
    SmallVocabulary vocabulary;
    vocabulary.add("<unk>", 0, 2).add("<s>", 0, 3).add("</s>", 0, 3).add("\u2581", -1).add("a", -2);
    const TokenizerInMemory tokenizer(vocabulary.metadata("llama"));
    CHECK(pieces(tokenizer, "axyza") == Pieces{"\u2581", "a", "<unk>", "a"});
    CHECK(pieces(tokenizer, "x x") == Pieces{"\u2581", "<unk>", "\u2581", "<unk>"});
}

TEST_CASE(
    "control tokens in a text are text, unless asked for; user-defined ones are always found, longest "
    "first") {
    SmallVocabulary vocabulary = small_sentencepiece();
    vocabulary.add("<tool>", -1000, 4).add("<tool>ab", -1000, 4);
    const TokenizerInMemory tokenizer(vocabulary.metadata("llama"));
    CHECK(pieces(tokenizer, "<s>") != Pieces{"<s>"});
    CHECK(pieces(tokenizer, "<s>", true) == Pieces{"<s>"});
    CHECK(pieces(tokenizer, "ab<tool>abc") == Pieces{"\u2581", "ab", "<tool>ab", "\u2581", "c"});
    CHECK(pieces(tokenizer, "<tool>a<s>", true) == Pieces{"<tool>", "\u2581", "a", "<s>"});
    CHECK(tokenizer->encode("h", true, false) == std::vector<Token>{1, vocabulary.id("\u2581h")});
}

TEST_CASE("decoding gives the text back, without the space in front") {
    SmallVocabulary vocabulary = small_sentencepiece();
    vocabulary.add("<tool>", -1000, 4);
    const TokenizerInMemory tokenizer(vocabulary.metadata("llama"));
    for (const std::string text : {"hello world", " hello", "  two  spaces ", "", " ", "a<tool> b<tool>c",
                                   "\u4f60\u597d", "tab\tand\nline", "bad \xff\xfe bytes"}) {
        CHECK(tokenizer->decode(tokenizer->encode(text, true, false), false) == text);
    }
    CHECK(tokenizer->decode({1, vocabulary.id("\u2581hello"), 2}, true) == "<s>hello</s>");
    CHECK(tokenizer->token_bytes(vocabulary.id("\u2581hello"), false) == " hello");
    CHECK(tokenizer->token_bytes(1, false).empty());
    CHECK_THROWS_WITH(tokenizer->decode({99999}, false),
                      ContainsSubstring("token 99999 is not in the vocabulary"));
    CHECK_THROWS_AS(tokenizer->token_bytes(-1, false), Error);
}

TEST_CASE("a file can ask for no space in front, no BOS, and an EOS") {
    Metadata metadata = small_sentencepiece().metadata("llama");
    metadata.set("tokenizer.ggml.add_space_prefix", false);
    metadata.set("tokenizer.ggml.add_bos_token", false);
    metadata.set("tokenizer.ggml.add_eos_token", true);
    const TokenizerInMemory tokenizer(metadata);
    CHECK(texts_of(*tokenizer.tokenizer, tokenizer->encode("ab", true, false)) == Pieces{"ab", "</s>"});
    CHECK(tokenizer->decode(tokenizer->encode(" ab", false, false), false) == " ab");
}

TEST_CASE("an unused token helps joining but never comes out") {
    SmallVocabulary vocabulary = small_sentencepiece();
    vocabulary.types[size_t(vocabulary.id("abc"))] = 5;
    const TokenizerInMemory tokenizer(vocabulary.metadata("llama"));
    CHECK(pieces(tokenizer, "abc") == Pieces{"\u2581", "ab", "c"});
}

TEST_CASE("byte-level pieces are merged in the order of the merges") {
    const TokenizerInMemory tokenizer(byte_level_metadata(small_byte_level()));
    CHECK(pieces(tokenizer, "hello the") == Pieces{"hello", "\u0120the"});
    CHECK(pieces(tokenizer, "hell") == Pieces{"hell"});
    CHECK(pieces(tokenizer, "elll") == Pieces{"e", "ll", "l"});
    CHECK(pieces(tokenizer, "  the") == Pieces{"\u0120", "\u0120the"});
    CHECK(pieces(tokenizer, "") == Pieces{});
}

TEST_CASE("byte-level text of any bytes comes back") {
    const TokenizerInMemory tokenizer(byte_level_metadata(small_byte_level()));
    std::string every_byte;
    for (int byte = 0; byte < 256; ++byte) every_byte += char(byte);
    for (const std::string& text :
         {every_byte, std::string("\xff\xfehello\xc3"), std::string("\u4f60\u597d \u00e9\t\n"),
          std::string("\xed\xa0\x80\xf4\x90\x80\x80")}) {
        CHECK(tokenizer->decode(tokenizer->encode(text, false, false), false) == text);
    }
}

TEST_CASE("a file's own splitting rule goes before the name of one") {
    Metadata metadata = byte_level_metadata(small_byte_level(), "nobody-knows-this");
    CHECK_THROWS_WITH(TokenizerInMemory(metadata),
                      ContainsSubstring("tokenizer.ggml.pre is 'nobody-knows-this'") &&
                          ContainsSubstring("llama-bpe") && ContainsSubstring("qwen2"));
    metadata.set(std::string(keys::kTokenizerPreRegex),
                 MetadataArray{std::vector<std::string>{"[lh]", "e."}});
    const TokenizerInMemory tokenizer(metadata);
    CHECK(pieces(tokenizer, "hello") == Pieces{"h", "e", "l", "l", "o"});
    metadata.set(std::string(keys::kTokenizerPreRegex), MetadataArray{std::vector<std::string>{"(unclosed"}});
    CHECK_THROWS_WITH(TokenizerInMemory(metadata), ContainsSubstring("(unclosed"));
}

TEST_CASE("a file without a splitting rule is read with a warning") {
    const TokenizerInMemory tokenizer(small_byte_level().metadata("gpt2"));
    REQUIRE(tokenizer->warnings.size() == 1);
    CHECK_THAT(tokenizer->warnings[0], ContainsSubstring("tokenizer.ggml.pre"));
}

TEST_CASE("a whole piece that is a token can go before the merges") {
    SmallVocabulary vocabulary = small_byte_level();
    vocabulary.add("ello");  // no merge makes it
    CHECK(pieces(TokenizerInMemory(byte_level_metadata(vocabulary)), "ello") == Pieces{"e", "ll", "o"});
    Metadata metadata = byte_level_metadata(vocabulary);
    metadata.set(std::string(keys::kTokenizerIgnoreMerges), true);
    CHECK(pieces(TokenizerInMemory(metadata), "ello") == Pieces{"ello"});
    CHECK(pieces(TokenizerInMemory(byte_level_metadata(vocabulary, "llama-bpe")), "ello") == Pieces{"ello"});
}

TEST_CASE("a normalizer composes characters before they are split") {
    SmallVocabulary vocabulary = small_byte_level();
    Metadata metadata = byte_level_metadata(vocabulary);
    const std::string decomposed = "e\u0301", composed = "\u00e9";
    CHECK(pieces(TokenizerInMemory(metadata), decomposed) != pieces(TokenizerInMemory(metadata), composed));
    metadata.set(std::string(keys::kTokenizerNormalizer), "NFC");
    CHECK(pieces(TokenizerInMemory(metadata), decomposed) == pieces(TokenizerInMemory(metadata), composed));
    metadata.set(std::string(keys::kTokenizerNormalizer), "rot13");
    CHECK_THROWS_WITH(TokenizerInMemory(metadata), ContainsSubstring("rot13"));
}

TEST_CASE("what ends generation is found by id and by name") {
    SmallVocabulary vocabulary = small_byte_level();
    vocabulary.add("<|endoftext|>", 0, 3).add("<|im_end|>", 0, 4).add("<|other|>", 0, 3);
    Metadata metadata = byte_level_metadata(vocabulary);
    metadata.set("tokenizer.ggml.eos_token_id", uint32_t(vocabulary.id("<|other|>")));
    metadata.set(std::string(keys::kTokenizerEndOfGeneration), MetadataArray{std::vector<uint32_t>{7}});
    const TokenizerInMemory tokenizer(metadata);
    for (const char* text : {"<|endoftext|>", "<|im_end|>", "<|other|>"}) {
        CHECK(tokenizer->is_end_of_generation(vocabulary.id(text)));
    }
    CHECK(tokenizer->is_end_of_generation(7));
    CHECK_FALSE(tokenizer->is_end_of_generation(8));
    // A prompt must not be able to forge the end of a turn.
    CHECK(pieces(tokenizer, "<|im_end|>") != Pieces{"<|im_end|>"});
    CHECK(pieces(tokenizer, "<|im_end|>", true) == Pieces{"<|im_end|>"});
}

// HOSTILE_INPUT row 44.
TEST_CASE("a prompt of 131,072 times Z is tokenized at once") {
    const std::string text(131072, 'Z');
    SECTION("SentencePiece") {
        const TokenizerInMemory tokenizer(small_sentencepiece().metadata("llama"));
        std::vector<Token> ids;
        CHECK(seconds([&] { ids = tokenizer->encode(text, false, false); }) < 1.0);
        CHECK(ids.size() == 1 + 131072 / 4);  // one ▁ in front
        CHECK(tokenizer->decode(ids, false) == text);
    }
    SECTION("byte-level, in one piece") {
        const TokenizerInMemory tokenizer(byte_level_metadata(small_byte_level()));
        std::vector<Token> ids;
        CHECK(seconds([&] { ids = tokenizer->encode(text, false, false); }) < 1.0);
        CHECK(ids.size() == 131072 / 4);
    }
    SECTION("spaces, which patterns look ahead in") {
        for (const char* pre : {"gpt-2", "llama-bpe", "qwen2", "deepseek-coder", "tekken", "gpt-4o"}) {
            const TokenizerInMemory tokenizer(byte_level_metadata(small_byte_level(), pre));
            const std::string spaces = std::string(131072, ' ') + "x";
            CHECK(seconds([&] { tokenizer->encode(spaces, false, false); }) < 1.0);
        }
    }
}

TEST_CASE("unknown tokenizer models are named") {
    Metadata metadata = small_sentencepiece().metadata("plamo2");
    CHECK_THROWS_WITH(TokenizerInMemory(metadata),
                      ContainsSubstring("'plamo2'") && ContainsSubstring("'llama'"));
    metadata.erase("tokenizer.ggml.model");
    CHECK_THROWS_WITH(TokenizerInMemory(metadata), ContainsSubstring("tokenizer.ggml.model is missing"));
}

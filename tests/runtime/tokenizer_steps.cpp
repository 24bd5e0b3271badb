// The declared steps of ingot.tokenizer.* (SPEC.md, section 3), one by one, and files that misstate them.
#include <cstring>
#include <deque>

#include "format/error.h"
#include "format/ingot_keys.h"
#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/self_test.h"
#include "tests/catch.h"
#include "tests/runtime/vocabulary_header.h"

using namespace ingot;
using namespace ingot::runtime;

namespace {

std::string normalize(std::vector<std::string> steps, std::string_view text) {
    const Charsmap no_map;
    const Trie no_pieces;
    return Normalizer(steps, {&no_map, &no_pieces}).apply(text);
}

std::vector<std::string> cut(std::vector<std::string> steps, std::string_view text) {
    std::deque<std::string> texts;
    const PreTokenizer::Pieces pieces = PreTokenizer(steps).split(text, true, texts);
    std::vector<std::string> result;
    for (const auto [begin, end] : pieces.ranges) result.emplace_back(pieces.text.substr(begin, end - begin));
    return result;
}

using Texts = std::vector<std::string>;

Metadata unigram() {
    Metadata metadata;
    metadata.set("general.architecture", "t5");
    metadata.set("tokenizer.ggml.model", "t5");
    metadata.set("tokenizer.ggml.tokens", MetadataArray{Texts{"<unk>", "a", "b", "ab", "abc", "c"}});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<int32_t>{2, 1, 1, 1, 1, 1}});
    metadata.set("tokenizer.ggml.scores", MetadataArray{std::vector<float>{0, -3, -3, -4, -9, -1}});
    metadata.set(std::string(keys::kTokenizerModel), "unigram");
    metadata.set(std::string(keys::kTokenizerOptions), MetadataArray{Texts{"unk=0"}});
    return metadata;
}

}  // namespace

TEST_CASE("normalizers rewrite text") {
    CHECK(normalize({"nfc"},
                    "xe\u0301\xff"
                    "e\u0301") == "x\u00e9\xff\u00e9");
    CHECK(normalize({"nfkd", "strip_marks"}, "\ufb01\u00e9") == "fie");
    CHECK(normalize({"lowercase"}, "\u0130A\u00c9") == "i\u0307a\u00e9");
    CHECK(normalize({"strip\tleft"}, " \u3000a ") == "a ");
    CHECK(normalize({"replace\t {2,}\t_"}, "a   b c") == "a_b c");
    CHECK(normalize({"replace\t \t\u2581", "prepend\t>"}, "a b") ==
          ">a\u2581"
          "b");
    CHECK(normalize({"prepend\t>"}, "") == "");
    CHECK(normalize({"clean_text", "space_han"}, std::string("a\0b\tc\u4e2d", 8)) == "ab c \u4e2d ");
    CHECK(normalize({"sentencepiece\tprefix collapse"}, "  a  b ") ==
          "\u2581"
          "a\u2581"
          "b");
    CHECK(normalize({"sentencepiece\tsuffix"}, " a") ==
          "\u2581"
          "a\u2581");
    CHECK(normalize({"nfc"}, "\u0eba\u0ecb") == "\u0eba\u0ecb");  // reordered since Unicode 12
}

TEST_CASE("pre-tokenizers cut text, each behavior in its way") {
    CHECK(cut({"split\tisolated\t,"}, "a,,b") == Texts{"a", ",", ",", "b"});
    CHECK(cut({"split\tremoved\t,"}, "a,,b") == Texts{"a", "b"});
    CHECK(cut({"split\tnot_removed\t,"}, "a,,b") == Texts{",", ","});
    CHECK(cut({"split\tcontiguous\t,"}, "a,,b") == Texts{"a", ",,", "b"});
    CHECK(cut({"split\twith_previous\t,"}, "a,,b") == Texts{"a,", ",", "b"});
    CHECK(cut({"split\twith_next\t,"}, "a,,b") == Texts{"a", ",", ",b"});
    CHECK(cut({"metaspace\tfirst\t\u2581", "split\twith_next\t\u2581"}, "a b") == Texts{"\u2581"
                                                                                        "a",
                                                                                        "\u2581"
                                                                                        "b"});
    CHECK(cut({"punctuation\tcontiguous"}, "a+!b\u0c84") ==
          Texts{"a", "+!", "b\u0c84"});  // P since Unicode 11
    CHECK(cut({"fixed_length\t2"},
              "a\u00e9"
              "b") == Texts{"a\u00e9", "b"});
    CHECK(cut({R"(split	isolated	\s)"},
              "a\u180e"
              "b c") == Texts{"a\u180e"
                              "b",
                              " ", "c"});
    CHECK(cut({R"(split	isolated	\p{Han}+)"}, "\u4e2d\u3001") == Texts{"\u4e2d", "\u3001"});
    CHECK(cut({"byte_level", "split\tisolated\t\u0120"}, "a b") == Texts{"a", " ", "b"});
    CHECK(cut({"split\tisolated\tb"},
              "a\xff"
              "b") == Texts{"a", "\xff", "b"});
}

TEST_CASE("unigram takes the best sum, and unknown runs are one token") {
    const TokenizerInMemory tokenizer(unigram());
    CHECK(tokenizer->encode("ab", false, false) == std::vector<Token>{3});
    CHECK(tokenizer->encode("abc", false, false) == std::vector<Token>{3, 5});  // -5 against -9
    CHECK(tokenizer->encode("axyb", false, false) == std::vector<Token>{1, 0, 2});
    const std::string text(1 << 20, 'a');  // HOSTILE_INPUT row 44
    CHECK(tokenizer->encode(text, false, false).size() == text.size());
}

TEST_CASE("the self-test finds a tokenizer that has changed") {
    Metadata metadata = unigram();
    add_tokenizer_self_test(metadata);
    const HeaderInMemory same(metadata);
    CHECK(run_tokenizer_self_test(same.header).n_texts > 0);
    CHECK(run_tokenizer_self_test(same.header).mismatches.empty());
    metadata.set(std::string(keys::kTokenizerNormalizers), MetadataArray{Texts{"lowercase"}});
    metadata.set(std::string(keys::kTokenizerPreTokenizers), MetadataArray{Texts{"split\tremoved\ta"}});
    CHECK_FALSE(run_tokenizer_self_test(HeaderInMemory(metadata).header).mismatches.empty());
    metadata.set(std::string(keys::kTokenizerTestIds), MetadataArray{Texts{"1"}});
    CHECK_THROWS_WITH(run_tokenizer_self_test(HeaderInMemory(metadata).header), ContainsSubstring("has 1"));
}

TEST_CASE("steps that are unknown or malformed are refused by name") {
    for (const char* step :
         {"rot13", "nfc\tx", "strip", "strip\tmiddle", "replace\ta", "sentencepiece\tx", "charsmap"})
        CHECK_THROWS_AS(normalize({step}, "a"), Error);
    for (const char* step :
         {"split\tsideways\ta", "split\tisolated\t(a", "fixed_length\t0", "metaspace\tfirst\t"})
        CHECK_THROWS_AS(cut({step}, "a"), Error);
    CHECK_THROWS_WITH(cut({"split\tisolated\t(a+)+$"}, std::string(64, 'a') + "!"),
                      ContainsSubstring("steps"));
    const auto with_added = [](const char* entry) {
        Metadata metadata = unigram();
        metadata.set(std::string(keys::kTokenizerAdded), MetadataArray{Texts{entry}});
        return metadata;
    };
    for (const char* entry : {"", "6 - x", "-1 - x", "1", "1 -", "1 - ", "1 q x", "x - x"})
        CHECK_THROWS_AS(TokenizerInMemory(with_added(entry)), Error);
    CHECK_NOTHROW(TokenizerInMemory(with_added("1 swlrnm x")));
}

TEST_CASE("a map of characters that points anywhere is refused or harmless") {
    const auto map = [](std::vector<uint32_t> units, std::string texts) {
        std::string bytes(4, '\0');
        const uint32_t size = uint32_t(4 * units.size());
        std::memcpy(bytes.data(), &size, 4);
        bytes.append(reinterpret_cast<const char*>(units.data()), size);
        return bytes + texts;
    };
    const auto lookup = [](const std::string& bytes) {
        return Charsmap({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}).longest("abc");
    };
    CHECK_FALSE(lookup(map({0xffffffff, 0xffffffff}, "x")));
    CHECK_FALSE(lookup(map({uint32_t(0x1fffff) << 10}, "x")));
    for (const std::string& bytes :
         {std::string("x"), std::string("\x05\0\0\0abcde", 9), std::string("\xff\xff\xff\xff", 4)})
        CHECK_THROWS_AS(lookup(bytes), Error);
}

TEST_CASE("decoders rewrite each token, and the first one loses the space that encoding put there") {
    const auto decode = [](std::vector<std::string> steps, const Texts& tokens, bool marks_words = false) {
        const Decoder decoder(steps, marks_words);
        std::string text;
        for (const std::string& token : tokens) {
            std::string bytes = decoder.bytes_of(token);
            if (text.empty()) decoder.drop_front(bytes);
            text += bytes;
        }
        return text;
    };
    CHECK(decode({"byte_level"}, {"\u0120a", "\u00ff"}) == " a\xff");
    CHECK(decode({"replace\t\u2581\t ", "byte_fallback", "strip\tleft"}, {"\u2581\u2581a", "<0xFF>"}) ==
          " a\xff");
    CHECK(decode({"metaspace\tfirst\t\u2581"}, {"\u2581\u2581", "a", "\u2581z"}) == "a z");  // all of them go
    CHECK(decode({"metaspace\tnever\t\u2581"}, {"\u2581", "a"}) == " a");
    CHECK(decode({"separate"}, {"a", "##b", "."}) == "a ##b .");
    CHECK(decode({"suffix\t</w>"}, {"a", "b</w>", "c</w>"}) == "ab c ");
    const Texts clean_up = {"word_piece\t##", "replace\t \\.\t."};
    CHECK(decode(clean_up, {"a", "##b", "."}) == "ab.");
    CHECK(decode(clean_up,
                 {"\u2581"
                  "a",
                  "b", "\u2581."},
                 true) == "ab.");  // as GGUF writes them
    CHECK(Decoder(clean_up, true).bytes_of_added("[SEP]") == " [SEP]");
    CHECK(Decoder(clean_up, true).bytes_of_added("##s") == "s");
    CHECK_THROWS_WITH(decode({"shout"}, {}), ContainsSubstring("shout"));
    CHECK_THROWS_WITH(decode({"replace\t[a-z]\tb"}, {}), ContainsSubstring("[a-z]"));
}

TEST_CASE("control tokens that are not shown do not count as the first") {
    Metadata metadata = unigram();
    metadata.set("tokenizer.ggml.tokens", MetadataArray{Texts{"<unk>", "<s>",
                                                              "\u2581"
                                                              "a",
                                                              "b</w>", "c</w>", "c"}});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<int32_t>{2, 3, 1, 1, 1, 1}});
    metadata.set(std::string(keys::kTokenizerAdded), MetadataArray{Texts{"0 s <unk>", "1 s <s>"}});
    metadata.set(std::string(keys::kTokenizerDecoders),
                 MetadataArray{Texts{"replace\t\u2581\t ", "strip\tleft"}});
    const TokenizerInMemory stripped(metadata);
    CHECK(stripped->decode({1, 2, 2}, false) == "a a");
    CHECK(stripped->decode({1, 2, 2}, true) == "<s> a a");
    CHECK(stripped->decode({1}, false).empty());
    metadata.set("tokenizer.ggml.tokens",
                 MetadataArray{Texts{"<unk>", "<s>", "\u2581", "b</w>", "c</w>", "c"}});
    CHECK(TokenizerInMemory(metadata)->decode({1, 2, 2, 5, 2}, false) == " c ");
    metadata.set(std::string(keys::kTokenizerDecoders),
                 MetadataArray{Texts{"replace\t\u2581\t ", "strip\tstart"}});
    CHECK(TokenizerInMemory(metadata)->decode({1, 2, 2, 5, 2}, false) == "c ");
    metadata.set(std::string(keys::kTokenizerDecoders), MetadataArray{Texts{"suffix\t</w>"}});
    const TokenizerInMemory suffixed(metadata);
    CHECK(suffixed->decode({3, 4}, false) == "b c");  // the last word has no space behind it
    CHECK(suffixed->decode({3, 4, 1}, false) == "b c");
    CHECK(suffixed->decode({3, 5}, false) == "b c");
}

TEST_CASE("bytes that are no UTF-8 are U+FFFD to SentencePiece, one for each") {
    CHECK(normalize({"sentencepiece\t-"}, "a\xe2\x82z\xff") == "a\ufffd\ufffdz\ufffd");
    CHECK(normalize({"sentencepiece\tcollapse"}, "\xed\xa0\x80") == "\ufffd\ufffd\ufffd");  // a surrogate
}

TEST_CASE("a user-defined token of a unigram model scores by its length, whatever its own score") {
    const auto encode = [](float a, float b) {  // "ab", user-defined, or a + b
        Metadata metadata = unigram();
        metadata.set("tokenizer.ggml.tokens", MetadataArray{Texts{"<unk>", "a", "b", "ab"}});
        metadata.set("tokenizer.ggml.token_type", MetadataArray{std::vector<int32_t>{2, 1, 1, 4}});
        metadata.set("tokenizer.ggml.scores", MetadataArray{std::vector<float>{0, a, b, -100}});
        metadata.set(std::string(keys::kTokenizerOptions), MetadataArray{Texts{"unk=0", "float32"}});
        return TokenizerInMemory(metadata)->encode("ab", false, false);
    };
    CHECK(encode(-0.1f, -0.2f) == std::vector<Token>{3});
    CHECK(encode(0.0f, 0.1f) == std::vector<Token>{3});  // equal to 0.1 (2 - 1): what was found first stays
    CHECK(encode(0.0f, 0.11f) == std::vector<Token>{1, 2});
}

TEST_CASE("the unknown token stands for nothing, or for what the file says") {
    Metadata metadata = unigram();
    metadata.set(std::string(keys::kTokenizerAdded), MetadataArray{Texts{"0 s <unk>"}});
    CHECK(TokenizerInMemory(metadata)->decode({1, 0, 2}, false) == "ab");
    metadata.set(std::string(keys::kTokenizerDecoders), MetadataArray{Texts{"unknown\t ?? "}});
    CHECK(TokenizerInMemory(metadata)->decode({1, 0, 2}, false) == "a ?? b");
    CHECK(TokenizerInMemory(metadata)->decode({1, 0, 2}, true) == "a<unk>b");
    // The space that goes at the front is a word's.
    metadata.set(std::string(keys::kTokenizerDecoders),
                 MetadataArray{Texts{"unknown\t ?? ", "strip\tstart"}});
    CHECK(TokenizerInMemory(metadata)->decode({0, 1}, false) == " ?? a");
}

// The readers of tokenizers that are no tokenizer.json: tiktoken's ranks, Mistral's tekken.json, GPT-2's
// vocab.json with merges.txt. Right files, and damaged ones, whose errors say where the damage is.
#include "converters/vocabulary/tiktoken.h"

#include "converters/vocabulary/vocabulary.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/files.h"

using namespace ingot;
using namespace ingot::converters;
using ingot::test::TemporaryFolder;
using ingot::test::write_file;
using Texts = std::vector<std::string>;

namespace {

/// a, b, c, space, ab, abc, " a", and a byte that is no UTF-8 by itself.
const std::string kRanks = "YQ== 0\nYg== 1\nYw== 2\nIA== 3\nYWI= 4\nYWJj 5\nIGE= 6\n/w== 7\n";

Vocabulary read(const TemporaryFolder& folder, uint64_t n_rows = 10) {
    return read_vocabulary(folder.path().string(), n_rows);
}

/// What is said about a qwen.tiktoken of this content.
Vocabulary read_ranks(const std::string& lines, const std::string& name = "qwen.tiktoken") {
    const TemporaryFolder folder;
    write_file(folder / name, lines);
    return read(folder);
}

std::string tekken(const std::string& config, const std::string& vocab, const std::string& specials = "") {
    return R"({"config": {)" + config + R"(}, "vocab": [)" + vocab + "]" +
           (specials.empty() ? "" : R"(, "special_tokens": [)" + specials + "]") + "}";
}

const std::string kTekkenConfig =
    R"("pattern": "[^\\s]+|\\s+", "default_vocab_size": 8, "default_num_special_tokens": 4)";
const std::string kTekkenVocab = R"({"rank": 0, "token_bytes": "YQ=="}, {"rank": 1, "token_bytes": "Yg=="},
    {"rank": 2, "token_bytes": "YWI="}, {"rank": 3, "token_bytes": "/w=="})";

Vocabulary read_tekken(const std::string& text, uint64_t n_rows = 8) {
    const TemporaryFolder folder;
    write_file(folder / "tekken.json", text);
    return read(folder, n_rows);
}

Vocabulary read_gpt2(const std::string& vocab, const std::string& merges,
                     const std::string& config = R"({"tokenizer_class": "GPT2Tokenizer"})") {
    const TemporaryFolder folder;
    write_file(folder / "vocab.json", vocab);
    write_file(folder / "merges.txt", merges);
    write_file(folder / "tokenizer_config.json", config);
    return read(folder);
}

const std::string kGpt2Vocab = R"({"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120ab": 4, "<|endoftext|>": 5})";

}  // namespace

TEST_CASE("a tiktoken file: ranks become ids, and every way to make a token a merge") {
    const Vocabulary vocabulary = read_ranks(kRanks);
    CHECK(vocabulary.model == "gpt2");
    CHECK(vocabulary.pre == "qwen2");
    REQUIRE(vocabulary.tokens.size() == 10);
    CHECK(Texts(vocabulary.tokens.begin(), vocabulary.tokens.begin() + 8) ==
          Texts{"a", "b", "c", "\u0120", "ab", "abc", "\u0120a", "\u00ff"});
    CHECK(vocabulary.tokens[8] == "[PAD8]");
    CHECK(vocabulary.merges == Texts{"a b", "ab c", "\u0120 a"});
    CHECK(vocabulary.own.model == "bpe");
    CHECK(vocabulary.own.normalizers == Texts{"nfc"});
    CHECK(vocabulary.own.decoders == Texts{"byte_level"});
    REQUIRE(vocabulary.own.pre_tokenizers.size() == 1);
    CHECK_THAT(vocabulary.own.pre_tokenizers[0], ContainsSubstring(R"(\p{N}|)"));  // Qwen: digits one by one
    const auto has = [&](const char* option) {
        const Texts& options = vocabulary.own.options;
        return std::find(options.begin(), options.end(), option) != options.end();
    };
    CHECK(has("byte_level"));
    CHECK(has("ignore_merges"));  // a piece that is in the list is that token
}

TEST_CASE("of the ways to make a token in a tiktoken file, the one of lower ranks comes first") {
    // abc from ab + c (ranks 4, 2) and from a + bc (0, 5): tiktoken joins ab, of lower rank, before bc.
    const Vocabulary vocabulary = read_ranks("YQ== 0\nYg== 1\nYw== 2\nIA== 3\nYWI= 4\nYmM= 5\nYWJj 6\n");
    CHECK(vocabulary.merges == Texts{"a b", "b c", "a bc", "ab c"});
}

TEST_CASE("the rule of a tiktoken file follows from its name, its class or the model's type") {
    CHECK_THAT(read_ranks(kRanks, "o200k_base.tiktoken").own.pre_tokenizers.at(0),
               ContainsSubstring(R"(\p{Lu})"));
    CHECK(read_ranks(kRanks, "r50k_base.tiktoken").pre == "gpt-2");
    TemporaryFolder folder;
    write_file(folder / "tokenizer.model", kRanks);  // as Llama 3 ships it
    CHECK_THROWS_WITH(read(folder), ContainsSubstring("does not say how it splits text") &&
                                        ContainsSubstring("tokenizer.json"));
    write_file(folder / "config.json", R"({"model_type": "llama"})");
    CHECK_THAT(read(folder).own.pre_tokenizers.at(0), ContainsSubstring(R"(\p{N}{1,3})"));
    write_file(folder / "tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})");
    CHECK(read(folder).pre == "qwen2");  // the class is nearer to the tokenizer than the model is
}

TEST_CASE("a damaged tiktoken file: the message names the line") {
    const auto says = [](const std::string& lines, const char* what) {
        CAPTURE(lines);
        CHECK_THROWS_WITH(read_ranks(lines), ContainsSubstring("qwen.tiktoken") && ContainsSubstring(what));
    };
    says("YQ== 0\nY*== 1\n", "line 2 is 'Y*== 1', expected base64");
    says("YQ== 0\nYg==\n", "line 2");
    says("YQ== 0\nYg== one\n", "line 2");
    says("YQ== 0\nYg== -1\n", "line 2");
    says("YQ== 0\nYg== 1 2\n", "line 2");
    says("YQ== 0\n\nYg== 99999999999999\n", "line 3");  // does not fit 32 bits: it must not become 0
    says("YQ== 0\nYg== 2147483647\n", "line 2");
    says("YQ== 0\nYQ== 1\n", "tokens 0 and 1 have the same bytes");
    says("YQ== 0\nYg== 0\n", "two tokens have the rank 0");
    says("YQ== 0\n 1\n", "token 1 has 0 bytes");
    says("YQ== 0\n" + std::string(1368, 'Y') + " 1\n", "token 1 has 1026 bytes, expected 1 to 1024");
    CHECK_THROWS_WITH(read_ranks("YQ== 0\nYg== 10\n"),
                      ContainsSubstring("11 tokens") && ContainsSubstring("10 rows"));
}

TEST_CASE("tekken.json: ids are ranks behind the special tokens") {
    const Vocabulary vocabulary = read_tekken(
        tekken(kTekkenConfig, kTekkenVocab,
               R"({"rank": 3, "token_str": "[INST]", "is_control": true}, {"rank": 1, "token_str": "<s>"})"));
    CHECK(vocabulary.model == "gpt2");
    CHECK(vocabulary.tokens == Texts{"<unk>", "<s>", "</s>", "[INST]", "a", "b", "ab", "\u00ff"});
    CHECK(vocabulary.types == std::vector<int32_t>{3, 3, 3, 3, 1, 1, 1, 1});
    CHECK(vocabulary.merges == Texts{"a b"});
    CHECK(vocabulary.own.pre_tokenizers == Texts{"split\tisolated\t[^\\s]+|\\s+"});
    // A list longer than the model's vocabulary is cut, as Mistral's own reader does; names may be missing.
    const Vocabulary cut = read_tekken(
        tekken(R"("pattern": "a", "default_vocab_size": 7, "default_num_special_tokens": 4)", kTekkenVocab),
        7);
    CHECK(cut.tokens == Texts{"<unk>", "<s>", "</s>", "<SPECIAL_3>", "a", "b", "ab"});
    CHECK(cut.merges == Texts{"a b"});
}

TEST_CASE("a damaged tekken.json says what is missing") {
    const auto says = [](const std::string& text, const char* what) {
        CAPTURE(text);
        CHECK_THROWS_WITH(read_tekken(text), ContainsSubstring("tekken.json") && ContainsSubstring(what));
    };
    const std::string pattern = R"("pattern": "a")";
    says("{}", "config.pattern");
    says("[]", "config.pattern");
    says(R"({"config": {"pattern": "a")", "not valid JSON");
    says(tekken("", kTekkenVocab), "config.pattern");
    says(tekken(R"("pattern": "\\K")", kTekkenVocab), "config.pattern");  // means another thing elsewhere
    says(tekken(pattern, kTekkenVocab), "config names 0 tokens, 0 of them special");
    says(tekken(pattern + R"(, "default_vocab_size": 4, "default_num_special_tokens": 4)", kTekkenVocab),
         "config names 4 tokens, 4 of them special");
    says(tekken(pattern + R"(, "default_vocab_size": 99999999999, "default_num_special_tokens": 4)",
                kTekkenVocab),
         "config names 99999999999 tokens");
    says(tekken(pattern + R"(, "default_vocab_size": 9, "default_num_special_tokens": 4)", kTekkenVocab),
         "vocab lists 4 tokens, config asks for 5 besides 4 special ones");
    says(tekken(kTekkenConfig, R"({"rank": 0, "token_bytes": "Y*=="})"), "vocab[0]");
    says(tekken(kTekkenConfig, R"({"rank": 0})"), "vocab[0]");
    says(tekken(kTekkenConfig, R"({"rank": 1, "token_bytes": "YQ=="})"), "vocab[0]");
    says(tekken(kTekkenConfig, R"({"rank": 0, "token_bytes": "YQ=="}, {"rank": 0, "token_bytes": "Yg=="})"),
         "vocab[1]");
    says(tekken(kTekkenConfig, R"({"rank": 0, "token_bytes": "YQ=="}, {"rank": 1, "token_bytes": "YQ=="},
        {"rank": 2, "token_bytes": "Yg=="}, {"rank": 3, "token_bytes": "Yw=="})"),
         "same bytes");
    says(R"({"config": {}, "config": {"pattern": "a"}})", "\"config\" appears twice");
    says(tekken("", std::string(100, '[') + std::string(100, ']')), "deeper than 64");
}

TEST_CASE("vocab.json with merges.txt: GPT-2's own form") {
    const Vocabulary vocabulary =
        read_gpt2(kGpt2Vocab, "#version: 0.2\na b\r\n\u0120 ab\n",
                  R"({"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>"})");
    CHECK(vocabulary.model == "gpt2");
    CHECK(vocabulary.pre == "gpt-2");
    CHECK(Texts(vocabulary.tokens.begin(), vocabulary.tokens.begin() + 6) ==
          Texts{"a", "b", "ab", "\u0120", "\u0120ab", "<|endoftext|>"});
    CHECK(vocabulary.merges == Texts{"a b", "\u0120 ab"});
    CHECK(vocabulary.eos == 5u);
    CHECK(vocabulary.own.decoders == Texts{"byte_level"});
    const Vocabulary prefixed =
        read_gpt2(kGpt2Vocab, "a b\n", R"({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true})");
    CHECK(prefixed.own.pre_tokenizers.at(0) == "prefix_space");
    // A merge may begin with #; only the first line can be the version.
    CHECK(read_gpt2(R"({"#": 0, "a": 1, "#a": 2})", "#version: 0.2\n# a\n").merges == Texts{"# a"});
}

TEST_CASE("damaged vocab.json and merges.txt: the message names the token or the line") {
    const auto says = [](const std::string& vocab, const std::string& merges, const char* file,
                         const char* what) {
        CAPTURE(vocab, merges);
        CHECK_THROWS_WITH(read_gpt2(vocab, merges), ContainsSubstring(file) && ContainsSubstring(what));
    };
    for (const char* id : {"-1", "1.5", "\"1\"", "2147483648", "null"})
        says(std::string(R"({"a": 0, "b": )") + id + "}", "", "vocab.json", "the id of token \"b\"");
    says("[1]", "", "vocab.json", "not an object");
    says("{\"a\": 0", "", "vocab.json", "not valid JSON");
    says(R"({"a": 0, "a": 1})", "", "vocab.json", "\"a\" appears twice");
    says(R"({"a": 0, "b": 0})", "", "vocab.json", "same id 0");
    says(kGpt2Vocab, "#version: 0.2\na b\nab\n", "merges.txt", "line 3 is no pair");
    says(kGpt2Vocab, "a \n", "merges.txt", "line 1 is no pair");
    CHECK_THROWS_WITH(read_gpt2(kGpt2Vocab, "a b\n", R"({"tokenizer_class": "NoSuchTokenizer"})"),
                      ContainsSubstring("NoSuchTokenizer") && ContainsSubstring("tokenizer.json"));
}

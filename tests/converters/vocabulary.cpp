#include "converters/vocabulary/vocabulary.h"

#include <filesystem>
#include <fstream>

#include <unistd.h>

#include "format/error.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "tests/catch.h"

using namespace ingot;
using namespace ingot::converters;

namespace {

namespace fs = std::filesystem;

/// A folder of its own, removed at the end.
struct Folder {
    fs::path path;
    Folder() {
        static int number = 0;
        path = fs::temp_directory_path() / fmt::format("ingot-vocabulary-{}-{}", ::getpid(), number++);
        fs::create_directories(path);
    }
    ~Folder() { fs::remove_all(path); }
    Folder& write(const char* name, const std::string& text) {
        std::ofstream(path / name, std::ios::binary) << text;
        return *this;
    }
    Vocabulary read(uint64_t n_rows) const { return read_vocabulary(path.string(), n_rows); }
};

/// tokenizer.json of a byte-level BPE with three letters and two merges.
std::string byte_level_json(const std::string& pre_tokenizer, const std::string& more = "",
                            const std::string& merges = R"(["a b", "ab c"])",
                            const std::string& model_more = "") {
    return R"({"version": "1.0", "added_tokens": [)"
           R"({"id": 5, "content": "<|end|>", "special": true}, {"id": 6, "content": "<tool>", "special": false}],)"
           R"("pre_tokenizer": )" +
           pre_tokenizer + "," + more +
           R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abc": 4}, "merges": )" +
           merges + model_more + "}}";
}

const std::string kByteLevel = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})";

std::string split(const std::string& regex, const char* behavior = "Isolated") {
    return R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": ")" + regex +
           R"("}, "behavior": ")" + behavior +
           R"(", "invert": false}, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
}

const std::string kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";
const std::string kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+)";

}  // namespace

TEST_CASE("the demo checkpoint's vocabulary") {
    const Vocabulary vocabulary =
        read_vocabulary(std::string(INGOT_SOURCE_DIR) + "/tests/data/tolstoy-5m", 2048);
    CHECK(vocabulary.model == "llama");
    CHECK(vocabulary.pre == "default");
    REQUIRE(vocabulary.tokens.size() == 2048);
    REQUIRE(vocabulary.scores.size() == 2048);
    REQUIRE(vocabulary.types.size() == 2048);
    CHECK(vocabulary.tokens[0] == "<unk>");
    CHECK(vocabulary.types[0] == 2);
    CHECK(vocabulary.tokens[1] == "<s>");
    CHECK(vocabulary.types[1] == 3);
    for (int byte = 0; byte < 256; ++byte) {
        CHECK(vocabulary.tokens[size_t(3 + byte)] == fmt::format("<0x{:02X}>", byte));
        CHECK(vocabulary.types[size_t(3 + byte)] == 6);
    }
    CHECK(vocabulary.tokens[259] == "\u2581t");
    CHECK(vocabulary.tokens[260] == "he");
    CHECK(vocabulary.scores[260] == -1.0f);
    CHECK(vocabulary.tokens[2047] == "Z");
    CHECK(vocabulary.scores[2047] == -1788.0f);
    CHECK(vocabulary.bos == 1u);
    CHECK(vocabulary.eos == 2u);
    CHECK_FALSE(vocabulary.unknown);
    CHECK(vocabulary.add_bos == true);
    CHECK(vocabulary.add_eos == false);
    CHECK_FALSE(vocabulary.add_space_prefix);
    CHECK(vocabulary.chat_template.empty());
    CHECK(vocabulary.warnings.empty());
}

TEST_CASE("rows of the embedding without a token are filled, and tokens without a row are an error") {
    const std::string folder = std::string(INGOT_SOURCE_DIR) + "/tests/data/tolstoy-5m";
    const Vocabulary vocabulary = read_vocabulary(folder, 2050);
    REQUIRE(vocabulary.tokens.size() == 2050);
    CHECK(vocabulary.tokens[2048] == "[PAD2048]");
    CHECK(vocabulary.types[2049] == 5);
    CHECK(vocabulary.scores[2049] == -10000.0f);
    for (const uint64_t n_rows : {uint64_t(1), uint64_t(2047), uint64_t(0)}) {
        CHECK_THROWS_AS(read_vocabulary(folder, n_rows), Error);
    }
    CHECK_THROWS_WITH(read_vocabulary(folder, 2047),
                      ContainsSubstring("2048 tokens") && ContainsSubstring("2047 rows"));
}

TEST_CASE("the keys that are written are the ones that readers know") {
    Folder folder;
    folder.write("tokenizer.json", byte_level_json(kByteLevel))
        .write("tokenizer_config.json",
               R"({"bos_token": {"content": "<|end|>"}, "eos_token": "<|end|>", "add_bos_token": true,
               "chat_template": [{"name": "default", "template": "D"}, {"name": "tool use", "template": "T"}]})")
        .write("generation_config.json", R"({"eos_token_id": [5, 6]})")
        .write("config.json", R"({"pad_token_id": 2, "eos_token_id": [5, 6], "unk_token_id": -1})");
    Metadata metadata;
    write_vocabulary(folder.read(8), metadata);
    const std::vector<std::byte> bytes = GgufLayout(metadata, {}).encode_header();
    const GgufHeader header = GgufHeader::parse(bytes);
    using Texts = std::vector<std::string_view>;
    CHECK(header.get_string("tokenizer.ggml.model") == "gpt2");
    CHECK(header.get_string("tokenizer.ggml.pre") == "gpt-2");
    CHECK(header.strings("tokenizer.ggml.tokens") ==
          Texts{"a", "b", "c", "ab", "abc", "<|end|>", "<tool>", "[PAD7]"});
    CHECK(header.ints("tokenizer.ggml.token_type") == std::vector<int64_t>{1, 1, 1, 1, 1, 3, 4, 5});
    CHECK(header.strings("tokenizer.ggml.merges") == Texts{"a b", "ab c"});
    CHECK(header.find("tokenizer.ggml.scores") == nullptr);
    CHECK(header.get_uint("tokenizer.ggml.bos_token_id") == 5);
    CHECK(header.get_uint("tokenizer.ggml.eos_token_id") == 5);
    CHECK(header.get_uint("tokenizer.ggml.padding_token_id") == 2);
    CHECK(header.find("tokenizer.ggml.unknown_token_id") == nullptr);
    CHECK(header.get_bool("tokenizer.ggml.add_bos_token") == true);
    CHECK(header.get_string("tokenizer.chat_template") == "D");
    CHECK(header.get_string("tokenizer.chat_template.tool_use") == "T");
    CHECK(header.strings("tokenizer.chat_templates") == Texts{"tool_use"});
    CHECK(header.ints(keys::kTokenizerEndOfGeneration) == std::vector<int64_t>{5, 6});
    CHECK(header.get_string(keys::kTokenizerModel) == "bpe");
    CHECK(header.strings(keys::kTokenizerPreTokenizers).size() == 1);
    CHECK(header.strings(keys::kTokenizerDecoders) == Texts{"byte_level"});
    CHECK(header.strings(keys::kTokenizerAdded) == Texts{"5 s <|end|>", "6 n <tool>"});
    CHECK(header.ints(keys::kTokenizerBefore) == std::vector<int64_t>{5});  // add_bos_token says so
    CHECK(header.ints(keys::kTokenizerAfter).empty());
}

TEST_CASE("merges come as strings or as pairs") {
    Folder strings, pairs, spaces;
    strings.write("tokenizer.json", byte_level_json(kByteLevel));
    pairs.write("tokenizer.json", byte_level_json(kByteLevel, "", R"([["a", "b"], ["ab", "c"]])"));
    CHECK(strings.read(7).merges == pairs.read(7).merges);
    spaces.write("tokenizer.json", byte_level_json(kByteLevel, "", R"([["a ", "b"]])"));
    CHECK(spaces.read(7).merges == std::vector<std::string>{"a\u0120 b"});
}

TEST_CASE("a splitting rule is recognised by what it says") {
    const auto pre = [](const std::string& pre_tokenizer, const std::string& model_more = "",
                        const std::string& more = "") {
        return Folder()
            .write("tokenizer.json", byte_level_json(pre_tokenizer, more, R"(["a b"])", model_more))
            .read(7)
            .pre;
    };
    CHECK(pre(kByteLevel) == "gpt-2");
    CHECK(pre(split(kQwen2Regex)) == "qwen2");
    CHECK(pre(split(kLlama3Regex)) == "smaug-bpe");
    // Llama 3 looks whole pieces up first and puts a BOS in front.
    const std::string begins =
        R"("post_processor": {"type": "TemplateProcessing", "pair": [], "single": [)"
        R"({"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]},)";
    CHECK(pre(split(kLlama3Regex), R"(, "ignore_merges": true)", begins) == "llama-bpe");
    CHECK(pre(split(kLlama3Regex), R"(, "ignore_merges": true)") == "glm4");
    CHECK(pre(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": true}, )" +
              kByteLevel + "]}") == "starcoder");
}

TEST_CASE("an unknown splitting rule travels in the file, and the user learns what llama.cpp will do") {
    const Vocabulary vocabulary =
        Folder().write("tokenizer.json", byte_level_json(split(R"(\\p{L}+|[\u4e00-\u9fa5])"))).read(7);
    CHECK(vocabulary.pre == "default");
    CHECK(vocabulary.own.model == "bpe");
    CHECK(vocabulary.own.pre_tokenizers ==
          std::vector<std::string>{"split\tisolated\t\\p{L}+|[\\x{4e00}-\\x{9fa5}]"});
    REQUIRE(vocabulary.warnings.size() == 1);
    CHECK_THAT(vocabulary.warnings[0], ContainsSubstring("llama.cpp"));
}

TEST_CASE("a rule in Ruby's syntax is rewritten, or not believed") {
    const auto read = [](const std::string& regex) {
        return Folder().write("tokenizer.json", byte_level_json(split(regex))).read(7);
    };
    const auto pattern = [&](const std::string& regex) {
        const std::vector<std::string> steps = read(regex).own.pre_tokenizers;
        REQUIRE(steps.size() == 1);
        REQUIRE(steps[0].starts_with("split\tisolated\t"));
        return steps[0].substr(15);
    };
    CHECK(pattern(R"([\\p{L}&&[^\\p{Han}]]+)") == R"((?:(?![\p{Han}])[\p{L}])+)");
    CHECK(pattern(R"(\\s+$)") == R"(\s+(?m:$))");
    CHECK(pattern(R"(\\h+)") == "[0-9a-fA-F]+");
    CHECK(pattern("[a[bc]]") == "[abc]");
    CHECK(pattern("(?m:.)|(?i:a)") == "(?s:.)|(?i:a)");
    for (const char* foreign : {R"(\\K+)", "[a[^bc]]", "(?~a)", "[a-z"}) {
        const Vocabulary vocabulary = read(foreign);
        CHECK(vocabulary.own.model.empty());
        CHECK(vocabulary.pre == "default");
        CHECK(vocabulary.warnings.size() == 1);
    }
}

TEST_CASE("SentencePiece-style merges become scores in their order") {
    const std::string json = R"({"added_tokens": [{"id": 0, "content": "<unk>", "special": true}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                       {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "decoder": {"type": "Sequence", "decoders": []},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
                  "vocab": {"<unk>": 0, "<0x41>": 1, "a": 2, "b": 3, "c": 4, "bc": 5, "ab": 6, "abc": 7},
                  "merges": ["b c", "a b", "ab c", "a bc"]}})";
    const Vocabulary vocabulary = Folder().write("tokenizer.json", json).read(9);
    CHECK(vocabulary.model == "llama");
    CHECK(vocabulary.pre == "default");
    CHECK(vocabulary.types == std::vector<int32_t>{3, 6, 1, 1, 1, 1, 1, 1, 5});
    CHECK(vocabulary.scores[5] > vocabulary.scores[6]);
    CHECK(vocabulary.scores[6] > vocabulary.scores[7]);
    CHECK(vocabulary.scores[7] > vocabulary.scores[2]);
    CHECK_FALSE(vocabulary.add_space_prefix);
    CHECK(vocabulary.warnings.empty());
}

TEST_CASE("added tokens without a row of the embedding are left out with a warning") {
    Folder folder;
    fs::copy(std::string(INGOT_SOURCE_DIR) + "/tests/data/tolstoy-5m/tokenizer.model", folder.path);
    folder.write("added_tokens.json", R"({"<pad>": 2048, "<tool>": 2047})");
    const Vocabulary vocabulary = folder.read(2048);
    CHECK(vocabulary.tokens[2047] == "<tool>");
    CHECK(vocabulary.types[2047] == 4);
    REQUIRE(vocabulary.warnings.size() == 1);
    CHECK_THAT(vocabulary.warnings[0], ContainsSubstring("<pad>") && ContainsSubstring("2048"));
}

TEST_CASE("a chat template may stand in a file of its own") {
    Folder folder;
    folder.write("tokenizer.json", byte_level_json(kByteLevel)).write("chat_template.jinja", "{{ x }}");
    CHECK(folder.read(7).chat_template == "{{ x }}");
}

TEST_CASE("a folder without a usable tokenizer says what is missing") {
    CHECK_THROWS_WITH(Folder().read(10),
                      ContainsSubstring("tokenizer.model") && ContainsSubstring("tokenizer.json"));
    CHECK_THROWS_WITH(Folder().write("tekken.json", "{}").read(10), ContainsSubstring("tekken.json"));
    CHECK_THROWS_WITH(
        Folder().write("tokenizer.model", "version https://git-lfs.github.com/spec/v1\n").read(10),
        ContainsSubstring("git lfs pull"));
    CHECK_THROWS_WITH(Folder().write("tokenizer.model", "IQ== 0\nIg== 1\n").read(10),
                      ContainsSubstring("tokenizer.json"));  // it does not say how it splits text
    CHECK_THROWS_WITH(
        Folder().write("tokenizer.json", R"({"model": {"type": "Unigram", "vocab": []}})").read(10),
        ContainsSubstring("Unigram"));
}

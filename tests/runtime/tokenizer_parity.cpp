// Ids that llama.cpp and the models' own tokenizers give for the same texts. The vocabularies are not
// shipped: without them these tests say so and check nothing.
#include <filesystem>
#include <sstream>

#include "format/error.h"
#include "tests/catch.h"
#include "tests/files.h"
#include "tests/runtime/vocabulary_header.h"

using namespace ingot;
using namespace ingot::runtime;
using ingot::test::read_file;

namespace {

const std::string kData = std::string(INGOT_SOURCE_DIR) + "/../shared/data/";

bool is_there(const std::string& path) {
    if (std::filesystem::exists(path)) return true;
    WARN("skipped: " << path << " is not there");
    return false;
}

/// `base`.inp holds texts, each ended by a line __ggml_vocab_test__; `base`.out a line of ids for each.
void check_texts(const Tokenizer& tokenizer, const std::string& base, bool is_lossless = true) {
    const std::string kEnd = "\n__ggml_vocab_test__\n";
    const std::string texts = read_file(base + ".inp");
    std::istringstream answers(read_file(base + ".out"));
    size_t begin = 0, n_texts = 0;
    for (std::string line; std::getline(answers, line); ++n_texts) {
        const size_t end = texts.find(kEnd, begin);
        REQUIRE(end != std::string::npos);
        const std::string text = texts.substr(begin, end - begin);
        begin = end + kEnd.size();
        std::istringstream numbers(line);
        std::vector<Token> expected;
        for (Token id; numbers >> id;) expected.push_back(id);
        INFO(text);
        CHECK(tokenizer.encode(text, false, false) == expected);
        if (is_lossless) CHECK(tokenizer.decode(expected, true) == text);
    }
    CHECK(n_texts == 46);
    CHECK(begin == texts.size());
}

}  // namespace

TEST_CASE("ids equal llama.cpp's for its own test texts") {
    for (const char* name : {"llama-spm", "gpt-2", "deepseek-coder", "phi-3", "bert-bge"}) {
        const std::string path = kData + "vocab/ggml-vocab-" + name + ".gguf";
        if (!is_there(path)) continue;
        const GgufFile file(path);
        const bool lowers_case = std::string(name) == "bert-bge";
        check_texts(*Tokenizer::from_header(file.header()), path, !lowers_case);
    }
}

TEST_CASE("ids equal llama.cpp's for Llama 3's vocabulary") {
    const std::string folder = kData + "llama3.2/";
    if (!is_there(folder + "encoder.json")) return;
    // encoder.json: one `  "token": id,` a line, ids in order; \" \\ and \uXXXX are escapes.
    SmallVocabulary vocabulary;
    std::istringstream encoder(read_file(folder + "encoder.json"));
    for (std::string line; std::getline(encoder, line);) {
        const size_t begin = line.find('"'), end = line.rfind("\": ");
        if (begin == std::string::npos || end == std::string::npos) continue;
        std::string text;
        for (size_t i = begin + 1; i < end; ++i) {
            if (line[i] != '\\') {
                text += line[i];
            } else if (line[++i] == 'u') {
                const unsigned c = unsigned(std::stoul(line.substr(i + 1, 4), nullptr, 16));
                if (c < 0x80 || c >= 0x800) FAIL("unexpected escape in " << line);
                text += char(0xc0 | (c >> 6));
                text += char(0x80 | (c & 0x3f));
                i += 4;
            } else {
                text += line[i];
            }
        }
        if (std::stoul(line.substr(end + 3)) != vocabulary.tokens.size())
            FAIL("ids are not in order at " << line);
        vocabulary.add(text);
    }
    REQUIRE(vocabulary.tokens.size() > 100000);
    std::istringstream merges(read_file(folder + "vocab.bpe"));
    for (std::string line; std::getline(merges, line);) {
        if (!line.empty() && !line.starts_with("#version")) vocabulary.merges.push_back(line);
    }
    Metadata metadata = vocabulary.metadata("gpt2");
    metadata.set("tokenizer.ggml.pre", "llama-bpe");
    check_texts(*TokenizerInMemory(metadata).tokenizer, folder + "llama-bpe");
}

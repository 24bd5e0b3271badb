// The splitting rules of the vocabularies that have names in tokenizer.ggml.pre, as the tokenizers themselves
// were published. A file that carries its own rules (ingot.tokenizer.pre_regex) needs none of these.
#include "format/pre_rules.h"

#include <fmt/format.h>

#include "format/utf8.h"

namespace ingot {

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

namespace {

// Parts that many rules share. \p{L} letters, \p{N} numbers, \p{P} punctuation, \p{S} symbols, \p{M} marks.
#define CONTRACTIONS R"((?i:'s|'t|'re|'ve|'m|'ll|'d))"
#define WORD R"([^\r\n\p{L}\p{N}]?\p{L}+)"
#define SYMBOLS R"( ?[^\s\p{L}\p{N}]+[\r\n]*)"
#define SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"
// Words whose capitals come first: "CamelCase" is two of them.
#define UPPER R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define LOWER R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define CASED_WORDS(suffix)                            \
    R"([^\r\n\p{L}\p{N}]?)" UPPER "*" LOWER "+" suffix \
    "|"                                                \
    R"([^\r\n\p{L}\p{N}]?)" UPPER "+" LOWER "*" suffix
#define NOT_HAN(set) R"((?:(?![\p{Han}]))" set ")"

constexpr std::string_view kLlama3 = CONTRACTIONS "|" WORD R"(|\p{N}{1,3}|)" SYMBOLS "|" SPACES;
constexpr std::string_view kQwen2 = CONTRACTIONS "|" WORD R"(|\p{N}|)" SYMBOLS "|" SPACES;
constexpr std::string_view kGpt4o =
    CASED_WORDS(CONTRACTIONS "?") R"(|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SPACES;
constexpr std::string_view kNumbersByThree = R"(\p{N}{1,3})";
constexpr std::string_view kNumber = R"(\p{N})";
/// Groups of three counted from the end: 1234567 → 1, 234, 567.
constexpr std::string_view kDigitGroups = R"(\d{1,3}(?=(?:\d{3})*\b))";
constexpr std::string_view kLines = R"([^\n]+|[\n]+)";
constexpr std::string_view kChineseJapanese = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
    R"(| ?[\p{P}\p{S}]+[\r\n]*|)" SPACES;
constexpr std::string_view kDeepSeekChinese = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+)";
constexpr std::string_view kBloom = R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{ff0c}\x{3001}\x{964}\x{6d4}\x{60c})]+)";

/// Letters that have case, as of the Unicode version that DeepSeek LLM was made with.
constexpr std::string_view kDeepSeekLlmWord =
    R"(\s?[)"
    R"(A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
    R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c})"
    R"(\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5})"
    R"(\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b})"
    R"(\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45})"
    R"(\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4})"
    R"(\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb})"
    R"(\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115})"
    R"(\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139})"
    R"(\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4})"
    R"(\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f})"
    R"(\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17})"
    R"(\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb})"
    R"(\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943})"
    R"(]+)";

}  // namespace

const std::vector<PreRule>& pre_rules() {
    static const std::vector<PreRule> table = {
        {{"gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
          "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "exaone4", "mpt", "olmo", "jais",
          "trillion", "granite-docling"},
         {kGpt2Pattern}},
        {{"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
          "jina-v5-nano"},
         {kLlama3},
         true,
         true},
        {{"smaug-bpe", "dbrx", "chatglm-bpe"}, {kLlama3}},
        {{"glm4", "glm5"}, {kLlama3}, true},
        {{"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open",
          "grok-2"},
         {kQwen2}},
        {{"qwen35"},
         {CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|)" SPACES}},
        {{"jais-2"},
         {CONTRACTIONS
          "|" WORD R"(|\p{N}{1,3}|)" SYMBOLS R"(|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S))"
          R"(|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1})"}},
        {{"minicpm5"}, {kNumbersByThree, CONTRACTIONS "|" WORD R"(|\p{N}+|)" SYMBOLS "|" SPACES}, true},
        {{"ufakzeka"}, {WORD R"(|\p{N}|)" SYMBOLS "|" SPACES}},
        {{"laguna"}, {kLines, kQwen2}},
        {{"seed-coder"}, {CONTRACTIONS "|" WORD R"(|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|)" SPACES}},
        {{"bailingmoe", "bailingmoe2", "llada-moe"},
         {R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"}},
        {{"exaone-moe"},
         {CONTRACTIONS
          R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?)"
          R"(|\s*[\r\n]|\s+(?!\S)|\s+)"}},
        {{"gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"}, {kGpt4o}},
        {{"granite-embed-multi-97m"}, {kGpt4o}, true},
        {{"tiny_aya", "cohere2moe"}, {kDigitGroups, kGpt4o}},
        {{"tekken"}, {CASED_WORDS("") R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SPACES}, true, true},
        {{"youtu"},
         {R"([\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]+|[\x{ff01}\x{2026}\x{201c}\x{201d}\x{2018}\x{2019}\x{2014}\x{ff1a})"
          R"(\x{ff1b}\x{ff0c}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]+|[\x{3105}-\x{312f}]+|)"
          R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+)",
          CASED_WORDS(CONTRACTIONS "?") R"(|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)" SPACES},
         true},
        {{"kimi-k2"},
         {R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?)" NOT_HAN(UPPER) "*" NOT_HAN(
             LOWER) "+" CONTRACTIONS "?|"
                    R"([^\r\n\p{L}\p{N}]?)" NOT_HAN(UPPER) "+" NOT_HAN(
                        LOWER) "*" CONTRACTIONS R"(?|\p{N}{1,3}|)" SYMBOLS "|" SPACES}},
        {{"deepseek-llm"},
         {R"([\r\n])", kDeepSeekLlmWord,
          R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+)",
          R"(\s+(?m:$))", kDeepSeekChinese, R"(\p{N}+)"}},
        {{"deepseek-coder"}, {R"([\r\n])", R"(\s?\p{L}+)", R"(\s?\p{P}+)", kDeepSeekChinese, kNumber}},
        {{"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"},
         {kNumbersByThree, kChineseJapanese, kDeepSeek3}},
        {{"spark2_5"},
         {kNumbersByThree, kChineseJapanese,
          R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+)"
          R"(| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+)",
          kNumber}},
        {{"afmoe"},
         {kDigitGroups,
          R"([\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{309f}\x{30a0}-\x{30ff}\x{ff65}-\x{ff9f})"
          R"(\x{2f00}-\x{2fdf}\x{e40}-\x{e7f}\x{e80}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f})"
          R"(\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}\x{1100}-\x{11ff}]+)",
          kDeepSeek3}},
        {{"falcon"}, {R"([\p{P}\$\+<=>\^~\|`]+)", kGpt2Pattern, R"([0-9][0-9][0-9])"}},
        {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"},
         {kNumber, kGpt2Pattern}},
        {{"poro-chat", "bloom", "gpt3-finnish"}, {kBloom}},
        {{"viking"}, {kBloom, kNumber}},
        {{"chameleon"},
         {R"(<sentinel:[0-9]+>)", R"((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)", R"(([\t\n]|    |  ))", kNumber,
          R"([\p{P}!-/:-@\[-`{-~])", kGpt2Pattern},
         false,
         true},
        {{"superbpe"}, {R"(\p{N}+)", R"((?=(\d{3})+(?!\d)))"}},
        {{"gemma4", "granite-embed-multi-311m", "sarvam-moe"},
         {kLines},
         false,
         false,
         PreRule::Text::SpaceMarks},
        {{"whitespace"}, {R"(\S+)"}, false, false, PreRule::Text::Words},
        // What llama.cpp does with byte-level vocabularies of unknown make. Rarely what their models were
        // trained on.
        {{"default"}, {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", R"([0-9][0-9][0-9])"}},
    };
    return table;
}

const PreRule* find_pre_rule(std::string_view name) {
    for (const PreRule& rule : pre_rules()) {
        for (const std::string_view known : rule.names) {
            if (known == name) return &rule;
        }
    }
    return nullptr;
}

std::string canonical_pattern(std::string_view pattern) {
    std::string canonical;
    while (!pattern.empty()) {
        const Utf8Step step = utf8_step(pattern);
        const char32_t c = step.code_point;
        if (c == '\r' || c == '\n' || c == '\t') {
            canonical += c == '\r' ? "\\r" : c == '\n' ? "\\n" : "\\t";
        } else if (c < 0x20 || c >= 0x7f) {
            canonical += fmt::format("\\x{{{:x}}}", uint32_t(c));
        } else {
            canonical += char(c);
        }
        pattern.remove_prefix(step.length_bytes);
    }
    return canonical;
}

}  // namespace ingot

#include "runtime/tokenizer/self_test.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "format/error.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {
namespace {

/// What tokenizers disagree about: case, digits, spaces, scripts, marks, emoji, odd characters, long words.
constexpr std::string_view kTexts[] = {
    "Hello, world! It's 2024; I'd say they'LL agree. (Don't you?)",
    "  two  spaces\tand\ttabs \n\n  new lines\r\n   end   ",
    "1 12 123 1234 12345 3.14159e-10 0xDEADBEEF ½ ³ ٣٤٥ Ⅷ",
    "def f(x: int) -> str:\n    return f\"{x:>8}\" if x != 0 else '\\0'  # ok\n",
    "Ünïcödé é e\u0301 ﬁ Ａｂｃ İstanbul straße ΌΣΟΣ Ça œuvre",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم، السلام عليكم",
    "你好，世界！こんにちは、世界。안녕하세요 세계. 𠀀𠀁 ｶﾀｶﾅ",
    "नमस्ते दुनिया வணக்கம் สวัสดีชาวโลก ជំរាបសួរ မင်္ဂလာပါ",
    "👍🏽 👨‍👩‍👧‍👦 🇺🇳 ☃️ 😀😀😀 ✈️→∞≠≤",
    "a\u00a0b\u2003c\u200bd\u3000e\ufefff\u180eg\u2028h",
    "https://example.org/a/b?c=d&e=%20f#g user.name@example.org C:\\Dir\\file.txt",
    "CamelCaseWord snake_case_word SCREAMING_CASE kebab-case x_1y2Z3",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    "a",
    "<s>[INST] <|im_start|>user\nHi<|im_end|> </s><|eot_id|> [CLS] <unk> ▁▁x",
};

std::string ids_of(const Tokenizer& tokenizer, std::string_view text) {
    return fmt::format("{}", fmt::join(tokenizer.encode(text, true, true), " "));
}

}  // namespace

void add_tokenizer_self_test(Metadata& metadata) {
    const std::vector<std::byte> bytes = GgufLayout(metadata, {}).encode_header();
    const GgufHeader header = GgufHeader::parse(bytes);
    const auto tokenizer = Tokenizer::from_header(header);
    std::vector<std::string> texts, ids;
    for (const std::string_view text : kTexts) {
        try {
            ids.push_back(ids_of(*tokenizer, text));
        } catch (const Error&) {
            continue;  // this vocabulary has no token for some character of it
        }
        texts.emplace_back(text);
    }
    metadata.set(std::string(keys::kTokenizerTestTexts), MetadataArray{texts});
    metadata.set(std::string(keys::kTokenizerTestIds), MetadataArray{ids});
}

TokenizerSelfTest run_tokenizer_self_test(const GgufHeader& header) {
    TokenizerSelfTest result;
    const auto texts = header.strings(keys::kTokenizerTestTexts);
    const auto ids = header.strings(keys::kTokenizerTestIds);
    if (texts.size() != ids.size()) {
        fail("{} has {} elements and {} has {}; the file is damaged", keys::kTokenizerTestTexts, texts.size(),
             keys::kTokenizerTestIds, ids.size());
    }
    if (texts.empty()) return result;
    const auto tokenizer = Tokenizer::from_header(header);
    result.n_texts = texts.size();
    for (size_t i = 0; i < texts.size(); ++i) {
        std::string found = ids_of(*tokenizer, texts[i]);
        if (found != ids[i]) result.mismatches.push_back({std::string(texts[i]), std::string(ids[i]), found});
    }
    return result;
}

}  // namespace ingot::runtime

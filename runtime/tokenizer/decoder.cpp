#include "runtime/tokenizer/decoder.h"

#include "format/byte_alphabet.h"
#include "format/error.h"
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/steps.h"
#include "runtime/tokenizer/token_table.h"
#include "runtime/tokenizer/words.h"

namespace ingot::runtime {
namespace {

int count_arguments(std::string_view name) {
    constexpr std::pair<std::string_view, int> kKnown[] = {
        {"byte_level", 0}, {"byte_fallback", 0}, {"replace", 2},  {"metaspace", 2}, {"strip", 1},
        {"suffix", 1},     {"word_piece", 1},    {"separate", 0}, {"unknown", 1},
    };
    for (const auto& [known, n] : kKnown) {
        if (known == name) return n;
    }
    return -1;
}

std::string with_space_before(std::string_view text) {
    std::string result(1, ' ');
    result += text;
    return result;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

}  // namespace

Decoder::Decoder(std::span<const std::string> steps, bool marks_words) {
    for (const std::string& notation : steps) {
        const Step step = Step::parse(notation, count_arguments);
        if (step.name == "byte_level") {
            byte_level_ = true;
        } else if (step.name == "byte_fallback") {
            byte_fallback_ = true;
        } else if (step.name == "word_piece" || step.name == "separate") {
            separates_ = true;
            marks_words_ = marks_words;
            if (step.name == "word_piece") prefix_ = step.arguments[0];
            front_ = Front::LosesSpace;
        } else if (step.name == "suffix") {
            suffix_ = step.arguments[0];
        } else if (step.name == "unknown") {
            unknown_text_ = step.arguments[0];
        } else if (step.name == "strip") {
            front_ = Front::LosesSpace;
            until_text_ = step.arguments[0] == "start";
        } else if (step.name == "metaspace") {
            replacements_.push_back({std::string(step.arguments[1]), " "});
            if (step.arguments[0] != "never") front_ = Front::LosesAllSpaces;
        } else {
            std::string literal;
            if (!is_literal_pattern(step.arguments[0], literal)) step.malformed();
            replacements_.push_back({std::move(literal), std::string(step.arguments[1])});
        }
    }
}

std::string Decoder::replaced(std::string bytes) const {
    for (const Replacement& each : replacements_) replace_all(bytes, each.from, each.to);
    return bytes;
}

std::string Decoder::separated(std::string_view token_text) const {
    const bool continues = !prefix_.empty() && token_text.starts_with(prefix_);
    if (continues) return replaced(std::string(token_text.substr(prefix_.size())));
    return replaced(with_space_before(token_text));
}

std::string Decoder::bytes_of(std::string_view token_text) const {
    if (byte_fallback_) {
        if (const auto byte = parse_byte_token(token_text)) return std::string(1, char(*byte));
    }
    if (separates_ && !marks_words_) return separated(token_text);
    if (separates_) {
        if (!token_text.starts_with(kSpaceMark)) return replaced(std::string(token_text));
        return replaced(with_space_before(token_text.substr(kSpaceMark.size())));
    }
    const bool ends_word = !suffix_.empty() && token_text.ends_with(suffix_);
    if (ends_word) token_text.remove_suffix(suffix_.size());
    std::string bytes;
    if (byte_level_) {
        append_from_alphabet(bytes, token_text);
    } else {
        bytes = token_text;
    }
    bytes = replaced(std::move(bytes));
    if (ends_word) bytes += ' ';
    return bytes;
}

std::string Decoder::bytes_of_added(std::string_view token_text) const {
    return separates_ ? separated(token_text) : bytes_of(token_text);
}

void Decoder::drop_front(std::string& first_bytes) const {
    if (front_ == Front::LosesAllSpaces) {
        std::erase(first_bytes, ' ');
    } else if (front_ == Front::LosesSpace && first_bytes.starts_with(' ')) {
        first_bytes.erase(0, 1);
    }
}

}  // namespace ingot::runtime

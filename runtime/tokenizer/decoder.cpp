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
        {"byte_level", 0}, {"byte_fallback", 0}, {"replace", 2},    {"metaspace", 2},
        {"strip", 1},      {"suffix", 1},        {"word_piece", 1},
    };
    for (const auto& [known, n] : kKnown) {
        if (known == name) return n;
    }
    return -1;
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
}

}  // namespace

Decoder::Decoder(std::span<const std::string> steps) {
    for (const std::string& notation : steps) {
        const Step step = Step::parse(notation, count_arguments);
        if (step.name == "byte_level") {
            byte_level_ = true;
        } else if (step.name == "byte_fallback") {
            byte_fallback_ = true;
        } else if (step.name == "word_piece") {
            word_piece_ = true;
            drops_leading_space_ = true;
        } else if (step.name == "suffix") {
            suffix_ = step.arguments[0];
        } else if (step.name == "strip") {
            drops_leading_space_ = true;
        } else if (step.name == "metaspace") {
            replacements_.push_back({std::string(step.arguments[1]), " "});
            drops_leading_space_ |= step.arguments[0] != "never";
        } else {
            std::string literal;
            if (!is_literal_pattern(step.arguments[0], literal)) step.malformed();
            replacements_.push_back({std::move(literal), std::string(step.arguments[1])});
        }
    }
}

std::string Decoder::bytes_of(std::string_view token_text) const {
    if (byte_fallback_) {
        if (const auto byte = parse_byte_token(token_text)) return std::string(1, char(*byte));
    }
    std::string bytes;
    if (word_piece_) {  // a token that starts a word has a ▁ in front
        if (!token_text.starts_with(kSpaceMark)) return std::string(token_text);
        bytes = " ";
        return bytes += token_text.substr(kSpaceMark.size());
    }
    const bool ends_word = !suffix_.empty() && token_text.ends_with(suffix_);
    if (ends_word) token_text.remove_suffix(suffix_.size());
    if (byte_level_) {
        append_from_alphabet(bytes, token_text);
    } else {
        bytes = token_text;
    }
    for (const Replacement& replacement : replacements_) replace_all(bytes, replacement.from, replacement.to);
    if (ends_word) bytes += ' ';
    return bytes;
}

}  // namespace ingot::runtime

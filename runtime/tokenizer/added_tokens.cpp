#include "runtime/tokenizer/added_tokens.h"

#include "format/utf8.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

/// Where the last character of text[0, end) starts.
size_t previous_character(std::string_view text, size_t end) {
    size_t at = end - 1;
    while (at > 0 && end - at < 4 && (uint8_t(text[at]) & 0xc0) == 0x80) --at;
    return at;
}

bool word_ends_at(std::string_view text, size_t end) {
    if (end == 0) return false;
    const size_t begin = previous_character(text, end);
    const Utf8Step step = utf8_step(text.substr(begin, end - begin));
    return step.valid && is_word_character(step.code_point);
}

bool word_starts_at(std::string_view text, size_t begin) {
    if (begin == text.size()) return false;
    const Utf8Step step = utf8_step(text.substr(begin));
    return step.valid && is_word_character(step.code_point);
}

size_t skip_space_left(std::string_view text, size_t end, size_t limit) {
    while (end > limit) {
        const size_t begin = previous_character(text, end);
        const Utf8Step step = utf8_step(text.substr(begin, end - begin));
        if (begin < limit || !step.valid || !is_white_space(step.code_point)) break;
        end = begin;
    }
    return end;
}

size_t skip_space_right(std::string_view text, size_t begin) {
    while (begin < text.size()) {
        const Utf8Step step = utf8_step(text.substr(begin));
        if (!step.valid || !is_white_space(step.code_point)) break;
        begin += step.length_bytes;
    }
    return begin;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
    std::vector<std::pair<std::string_view, int32_t>> entries;
    for (size_t i = 0; i < tokens_.size(); ++i) {
        if (tokens_[i].text.empty()) continue;
        entries.emplace_back(tokens_[i].text, int32_t(i));
        starts_[uint8_t(tokens_[i].text[0])] = true;
    }
    trie_ = Trie(std::move(entries));
}

AddedTokens::Match AddedTokens::find(std::string_view text, size_t from, size_t taken,
                                     bool parse_special) const {
    for (size_t begin = from; begin < text.size(); ++begin) {
        if (!starts_[uint8_t(text[begin])]) continue;
        const AddedToken* longest = nullptr;
        size_t longest_end = begin;
        int32_t state = Trie::kRoot;
        for (size_t end = begin; end < text.size();) {
            state = trie_.next(state, uint8_t(text[end++]));
            if (state == Trie::kNone) break;
            if (trie_.value(state) == Trie::kNone) continue;
            const AddedToken& token = tokens_[size_t(trie_.value(state))];
            if (token.special && !parse_special) continue;
            longest = &token;
            longest_end = end;
        }
        if (longest == nullptr) continue;
        if (longest->single_word && (word_ends_at(text, begin) || word_starts_at(text, longest_end))) {
            begin = longest_end - 1;
            continue;
        }
        return {longest->left_strip ? skip_space_left(text, begin, taken) : begin,
                longest->right_strip ? skip_space_right(text, longest_end) : longest_end, longest->id};
    }
    return {};
}

}  // namespace ingot::runtime

// What the readers of several kinds of tokenizer files have in common.
#include <algorithm>
#include <charconv>

#include "converters/vocabulary/vocabulary_sources.h"
#include "format/error.h"

namespace ingot::converters {
namespace {

constexpr std::string_view kSpace = "\u2581";  // ▁

}  // namespace

std::string AddedToken::notation(bool in_model) const {
    std::string flags;
    for (const auto& [is_set, letter] : {std::pair{special, 's'},
                                         {single_word, 'w'},
                                         {left_strip, 'l'},
                                         {right_strip, 'r'},
                                         {normalized, 'n'},
                                         {in_model, 'm'}}) {
        if (is_set) flags += letter;
    }
    return fmt::format("{} {} {}", id, flags.empty() ? "-" : flags, text);
}

void set_token(Vocabulary& vocabulary, size_t id, std::string text, TokenType type) {
    vocabulary.tokens[id] = std::move(text);
    vocabulary.types[id] = int32_t(type);
}

void make_rows(Vocabulary& vocabulary, uint64_t n_rows) {
    vocabulary.tokens.reserve(n_rows);
    for (uint64_t id = 0; id < n_rows; ++id) vocabulary.tokens.push_back(fmt::format("[PAD{}]", id));
    vocabulary.types.assign(n_rows, int32_t(TokenType::Unused));
}

void too_many_tokens(const std::string& file, uint64_t n_tokens, uint64_t n_rows) {
    fail("{}: has {} tokens, but the embedding has {} rows; the tokenizer belongs to another model", file,
         n_tokens, n_rows);
}

std::string with_spaces(std::string text) {
    for (size_t at = 0; (at = text.find(kSpace, at)) != std::string::npos; ++at)
        text.replace(at, kSpace.size(), 1, ' ');
    return text;
}

bool is_byte_token(std::string_view text) {
    const auto is_digit = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
    };
    return text.size() == 6 && text.starts_with("<0x") && is_digit(text[3]) && is_digit(text[4]) &&
           text[5] == '>';
}

std::vector<AddedToken> added_tokens_decoder(const TokenizerFiles& files) {
    std::vector<AddedToken> added;
    const Json* decoder =
        files.tokenizer_config ? files.tokenizer_config->get_object("added_tokens_decoder") : nullptr;
    if (decoder == nullptr) return added;
    for (const auto& [key, token] : decoder->members()) {
        uint64_t id = 0;
        const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
        if (error != std::errc() || end != key.data() + key.size()) {
            fail("{}: \"{}\" is no token id", decoder->where(), key);
        }
        const std::string text = token.get_string("content").value_or("");
        if (text.empty()) fail("{}: token {} has no content", decoder->where(), key);
        const auto flag = [&entry = token](const char* name) { return entry.get_bool(name).value_or(false); };
        const bool special = flag("special");
        added.push_back({id, text, special, flag("single_word"), flag("lstrip"), flag("rstrip"),
                         token.get_bool("normalized").value_or(!special)});
    }
    return added;
}

void set_added_token(const AddedToken& token, const std::string& file, Vocabulary& vocabulary) {
    if (token.id >= vocabulary.tokens.size()) {
        vocabulary.warnings.push_back(
            fmt::format("{}: the added token '{}' has id {}, but the embedding has {} rows; it is left out",
                        file, token.text, token.id, vocabulary.tokens.size()));
        return;
    }
    const bool was_filler = vocabulary.types[token.id] == int32_t(TokenType::Unused);
    const bool control = token.special || looks_special(token.text);
    set_token(vocabulary, token.id, control ? token.text : with_spaces(token.text),
              control ? TokenType::Control : TokenType::UserDefined);
    // Of a unigram model the score of every token counts.
    const bool keeps_score = vocabulary.model == "t5" && !was_filler;
    if (!vocabulary.scores.empty() && !keeps_score) vocabulary.scores[token.id] = kAddedScore;
}

void apply_bos_and_eos(Vocabulary& vocabulary) {
    std::vector<uint32_t>&before = vocabulary.own.before, &after = vocabulary.own.after;
    if (vocabulary.add_bos == false && vocabulary.bos && !before.empty() && before.front() == *vocabulary.bos)
        before.erase(before.begin());
    if (vocabulary.add_bos == true && vocabulary.bos && before.empty()) before = {*vocabulary.bos};
    if (vocabulary.add_eos == false && vocabulary.eos && !after.empty() && after.back() == *vocabulary.eos)
        after.pop_back();
    if (vocabulary.add_eos == true && vocabulary.eos && after.empty()) after = {*vocabulary.eos};
}

}  // namespace ingot::converters

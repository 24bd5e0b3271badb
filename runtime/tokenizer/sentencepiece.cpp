#include "runtime/tokenizer/sentencepiece.h"

#include <algorithm>
#include <bit>
#include <string>
#include <unordered_map>

#include "format/error.h"
#include "format/utf8.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/word_memo.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kSpace = "\u2581";  // ▁
constexpr uint64_t kMaxTextBytes = uint64_t(1) << 30;

/// Float → integer that is smaller where the float is greater. -0 and 0 are equal.
uint32_t descending_order(float score) {
    const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
    const uint32_t ascending = (bits & 0x80000000u) ? ~bits : (bits | 0x80000000u);
    return ~ascending;
}

/// Appends `text` with every `from` replaced by `to`.
void append_replaced(std::string& output, std::string_view text, std::string_view from, std::string_view to) {
    for (size_t at = 0; at < text.size();) {
        const size_t found = std::min(text.find(from, at), text.size());
        output += text.substr(at, found - at);
        if (found == text.size()) break;
        output += to;
        at = found + from.size();
    }
}

/// Where the word that starts at `begin` ends: after its leading run of ▁ and everything up to the next ▁.
size_t word_end(std::string_view text, size_t begin) {
    while (text.substr(begin).starts_with(kSpace)) begin += kSpace.size();
    const size_t end = text.find(kSpace, begin);
    return end == std::string_view::npos ? text.size() : end;
}

}  // namespace

SentencePieceTokenizer::SentencePieceTokenizer(const GgufHeader& header)
    : table_(header), specials_(table_), pieces_(table_.size()) {
    if (table_.scores.empty()) {
        fail(
            "tokenizer.ggml.scores is missing: a SentencePiece vocabulary needs them; convert the model "
            "again");
    }
    priority_.reserve(table_.size());
    for (const float score : table_.scores) priority_.push_back(descending_order(score));

    byte_tokens_.fill(TextIndex::kAbsent);
    for (uint32_t id = 0; id < table_.size(); ++id) {
        const std::string_view text = table_.texts[id];
        if (text.empty() || table_.is_hidden(Token(id))) continue;
        if (table_.kinds[id] == TokenKind::Byte) {
            Token& token = byte_tokens_[*parse_byte_token(text)];
            if (token == TextIndex::kAbsent) token = Token(id);
            continue;
        }
        pieces_.insert(text, Token(id));
        longest_piece_ = std::max(longest_piece_, text.size());
        words_are_independent_ &= word_end(text, 0) == text.size();
    }

    has_all_bytes_ =
        std::find(byte_tokens_.begin(), byte_tokens_.end(), TextIndex::kAbsent) == byte_tokens_.end();

    // What llama.cpp takes where the file says nothing.
    const auto or_default = [this](std::optional<Token> id, Token otherwise) {
        return id || uint32_t(otherwise) >= table_.size() ? id : otherwise;
    };
    bos = or_default(table_.bos, 1);
    eos = or_default(table_.eos, 2);
    unknown = or_default(table_.unknown, 0);
    eot = table_.eot;
    add_bos = header.get_bool("tokenizer.ggml.add_bos_token").value_or(true) && bos;
    add_eos = header.get_bool("tokenizer.ggml.add_eos_token").value_or(false) && eos;
    add_space_prefix = header.get_bool("tokenizer.ggml.add_space_prefix").value_or(true);
    end_of_generation_ = table_.end_of_generation;
    if (eos && !is_end_of_generation(*eos)) {
        end_of_generation_.insert(
            std::upper_bound(end_of_generation_.begin(), end_of_generation_.end(), *eos), *eos);
    }
}

class SentencePieceTokenizer::Session {
  public:
    Session(const SentencePieceTokenizer& tokenizer, size_t text_bytes, std::vector<Token>& output)
        : tokenizer_(tokenizer), output_(output), memo_(text_bytes) {}

    /// `text` has ▁ for spaces and must outlive the session.
    void encode(std::string_view text) {
        previous_is_unknown_ = false;
        if (!tokenizer_.words_are_independent_) return encode_word(text);
        for (size_t begin = 0; begin < text.size();) {
            const size_t end = word_end(text, begin);
            const std::string_view word = text.substr(begin, end - begin);
            if (tokenizer_.has_all_bytes_) {
                memo_.append(word, output_, [&] { encode_word(word); });
            } else {  // runs of unknown characters may go on from word to word
                encode_word(word);
            }
            begin = end;
        }
    }

  private:
    void encode_word(std::string_view word) {
        merger_.clear();
        for (size_t begin = 0; begin < word.size();) {
            const Utf8Step step = utf8_step(word.substr(begin));
            const uint32_t length = step.valid ? step.length_bytes : 1;
            merger_.append(uint32_t(begin), length, TextIndex::kAbsent);
            begin += length;
        }
        merger_.merge([&](const Symbol& left, const Symbol& right) -> MergeCandidate {
            const size_t length = size_t(left.length) + right.length;
            if (length > tokenizer_.longest_piece_) return {};
            const std::string_view text = word.substr(left.begin, length);
            const Token id = tokenizer_.pieces_.find(text);
            if (id == TextIndex::kAbsent) return {};
            if (tokenizer_.table_.kinds[size_t(id)] == TokenKind::Unused) unused_splits_[text] = left.length;
            return {tokenizer_.priority_[size_t(id)], id};
        });
        for (int32_t i = 0; i >= 0; i = merger_.symbols[size_t(i)].next) {
            const Symbol& symbol = merger_.symbols[size_t(i)];
            emit(word.substr(symbol.begin, symbol.length), symbol.id);
        }
    }

    /// `id`: the token of a merged symbol; kAbsent for a single character, which is looked up here.
    void emit(std::string_view text, Token id) {
        if (id == TextIndex::kAbsent) id = tokenizer_.pieces_.find(text);
        if (id == TextIndex::kAbsent) return emit_bytes(text);
        if (tokenizer_.table_.kinds[size_t(id)] == TokenKind::Unused) return emit_parts(text);
        output_.push_back(id);
        previous_is_unknown_ = false;
    }

    /// An unused token helps merging but must not come out: it is taken apart as it was put together.
    void emit_parts(std::string_view text) {
        std::vector<std::string_view> pending{text};
        while (!pending.empty()) {
            const std::string_view part = pending.back();
            pending.pop_back();
            const Token id = tokenizer_.pieces_.find(part);
            const auto split = unused_splits_.find(part);
            if (id == TextIndex::kAbsent) {
                emit_bytes(part);
            } else if (tokenizer_.table_.kinds[size_t(id)] == TokenKind::Unused &&
                       split != unused_splits_.end()) {
                pending.push_back(part.substr(split->second));
                pending.push_back(part.substr(0, split->second));
            } else {
                output_.push_back(id);
                previous_is_unknown_ = false;
            }
        }
    }

    void emit_bytes(std::string_view text) {
        for (const char c : text) {
            const Token id = tokenizer_.byte_tokens_[uint8_t(c)];
            if (id == TextIndex::kAbsent) return emit_unknown(text);
        }
        for (const char c : text) output_.push_back(tokenizer_.byte_tokens_[uint8_t(c)]);
        previous_is_unknown_ = false;
    }

    /// A run of unknown characters is one unknown token, as in SentencePiece.
    void emit_unknown(std::string_view text) {
        if (!tokenizer_.unknown) {
            fail("'{}' is not in the vocabulary, which has neither byte tokens nor an unknown token", text);
        }
        if (!previous_is_unknown_) output_.push_back(*tokenizer_.unknown);
        previous_is_unknown_ = true;
    }

    const SentencePieceTokenizer& tokenizer_;
    std::vector<Token>& output_;
    WordMemo memo_;
    Merger merger_;
    std::unordered_map<std::string_view, size_t>
        unused_splits_;  // text of an unused token → bytes of its left part
    bool previous_is_unknown_ = false;
};

std::vector<Token> SentencePieceTokenizer::encode(std::string_view text, bool add_special,
                                                  bool parse_special) const {
    if (text.size() > kMaxTextBytes) {
        fail("the text has {} bytes, at most {} can be tokenized at once; cut it", text.size(),
             kMaxTextBytes);
    }
    // The text with ▁ for spaces, cut at special tokens.
    struct Fragment {
        size_t begin, end;  // in `escaped`
        Token token;        // after it; -1: none
    };
    std::string escaped;
    escaped.reserve(text.size() + text.size() / 2 + kSpace.size());
    std::vector<Fragment> fragments;
    for (size_t begin = 0; begin < text.size();) {
        const SpecialMatcher::Match match = specials_.find(text, begin, parse_special);
        const size_t fragment_begin = escaped.size();
        if (match.begin > begin && add_space_prefix) escaped += kSpace;
        append_replaced(escaped, text.substr(begin, match.begin - begin), " ", kSpace);
        fragments.push_back({fragment_begin, escaped.size(), match.token});
        begin = match.end;
    }

    std::vector<Token> output;
    output.reserve(text.size() / 3 + 16);
    if (add_special && add_bos) output.push_back(*bos);
    Session session(*this, escaped.size(), output);
    for (const Fragment& fragment : fragments) {
        session.encode(std::string_view(escaped).substr(fragment.begin, fragment.end - fragment.begin));
        if (fragment.token >= 0) output.push_back(fragment.token);
    }
    if (add_special && add_eos) output.push_back(*eos);
    return output;
}

std::string_view SentencePieceTokenizer::token_text(Token token) const {
    if (token < 0 || uint32_t(token) >= table_.size()) {
        fail("token {} is not in the vocabulary, which has {} tokens (0 to {})", token, table_.size(),
             table_.size() - 1);
    }
    return table_.texts[size_t(token)];
}

std::string SentencePieceTokenizer::token_bytes(Token token, bool special) const {
    const std::string_view text = token_text(token);
    switch (table_.kinds[size_t(token)]) {
        case TokenKind::Control:
        case TokenKind::Unknown:
            return special ? std::string(text) : std::string();
        case TokenKind::UserDefined:
            return std::string(text);
        case TokenKind::Unused:
            return {};
        case TokenKind::Byte:
            return std::string(1, char(*parse_byte_token(text)));
        default:
            break;
    }
    std::string bytes;
    append_replaced(bytes, text, kSpace, " ");
    return bytes;
}

bool SentencePieceTokenizer::space_follows(Token token) const {
    return add_space_prefix &&
           (table_.is_hidden(token) || table_.kinds[size_t(token)] == TokenKind::UserDefined);
}

}  // namespace ingot::runtime

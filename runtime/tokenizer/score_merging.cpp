#include "runtime/tokenizer/score_merging.h"

#include <algorithm>
#include <bit>
#include <string>
#include <unordered_map>

#include "format/error.h"
#include "format/utf8.h"
#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/word_memo.h"
#include "runtime/tokenizer/words.h"

namespace ingot::runtime {
namespace {

/// Float → integer that is smaller where the float is greater. -0 and 0 are equal.
uint32_t descending_order(float score) {
    const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);
    const uint32_t ascending = (bits & 0x80000000u) ? ~bits : (bits | 0x80000000u);
    return ~ascending;
}

}  // namespace

ScoreMerging::ScoreMerging(const TokenizerRecipe& recipe, const TokenTable& table)
    : table_(table), pieces_(table.size()) {
    if (table.scores.empty()) {
        fail(
            "tokenizer.ggml.scores is missing: a SentencePiece vocabulary needs them; convert the model "
            "again");
    }
    priority_.reserve(table.size());
    for (const float score : table.scores) priority_.push_back(descending_order(score));

    byte_tokens_.fill(TextIndex::kAbsent);
    std::vector<std::pair<std::string_view, int32_t>> user_defined;
    for (const ModelToken& token : recipe.vocabulary) {
        if (token.text.empty()) continue;
        const TokenKind kind = table.kinds[size_t(token.id)];
        if (kind == TokenKind::Byte) {
            Token& slot = byte_tokens_[*parse_byte_token(token.text)];
            if (slot == TextIndex::kAbsent) slot = token.id;
            continue;
        }
        if (kind == TokenKind::UserDefined && recipe.is_own) user_defined.emplace_back(token.text, token.id);
        pieces_.insert(token.text, token.id);
        longest_piece_ = std::max(longest_piece_, token.text.size());
        words_are_independent_ &= word_end(token.text, 0) == token.text.size();
    }
    user_defined_ = Trie(std::move(user_defined));
    has_all_bytes_ =
        std::find(byte_tokens_.begin(), byte_tokens_.end(), TextIndex::kAbsent) == byte_tokens_.end();
    unknown_ = Token(recipe.number("unk", uint64_t(table.unknown.value_or(-1))));
}

class ScoreMerging::Session final : public TokenModel::Session {
  public:
    Session(const ScoreMerging& model, size_t text_bytes) : model_(model), memo_(text_bytes) {}

    void encode(std::string_view text, std::vector<Token>& output) override {
        output_ = &output;
        previous_is_unknown_ = false;
        if (model_.user_defined_.empty()) return encode_text(text);
        size_t begin = 0;
        for (size_t at = 0; at < text.size();) {
            const auto [length, token] = user_defined_at(text, at);
            if (length == 0) {
                const Utf8Step step = utf8_step(text.substr(at));
                at += step.valid ? step.length_bytes : 1;
                continue;
            }
            encode_text(text.substr(begin, at - begin));
            push(token);
            begin = at += length;
        }
        encode_text(text.substr(begin));
    }

  private:
    std::pair<size_t, Token> user_defined_at(std::string_view text, size_t begin) const {
        std::pair<size_t, Token> longest{0, -1};
        int32_t state = Trie::kRoot;
        for (size_t at = begin; at < text.size(); ++at) {
            state = model_.user_defined_.next(state, uint8_t(text[at]));
            if (state == Trie::kNone) break;
            if (const int32_t token = model_.user_defined_.value(state); token != Trie::kNone)
                longest = {at + 1 - begin, token};
        }
        return longest;
    }

    void encode_text(std::string_view text) {
        if (!model_.words_are_independent_) return encode_word(text);
        for (size_t begin = 0; begin < text.size();) {
            const size_t end = word_end(text, begin);
            const std::string_view word = text.substr(begin, end - begin);
            if (model_.has_all_bytes_) {
                memo_.append(word, *output_, [&] { encode_word(word); });
            } else {  // runs of unknown characters may go on from word to word
                encode_word(word);
            }
            begin = end;
        }
    }

    void encode_word(std::string_view word) {
        if (word.empty()) return;
        merger_.clear();
        for (size_t begin = 0; begin < word.size();) {
            const Utf8Step step = utf8_step(word.substr(begin));
            const uint32_t length = step.valid ? step.length_bytes : 1;
            merger_.append(uint32_t(begin), length, TextIndex::kAbsent);
            begin += length;
        }
        merger_.merge([&](const Symbol& left, const Symbol& right) -> MergeCandidate {
            const size_t length = size_t(left.length) + right.length;
            if (length > model_.longest_piece_) return {};
            const std::string_view text = word.substr(left.begin, length);
            const Token id = model_.pieces_.find(text);
            if (id == TextIndex::kAbsent) return {};
            if (model_.table_.kinds[size_t(id)] == TokenKind::Unused) unused_splits_[text] = left.length;
            return {model_.priority_[size_t(id)], id};
        });
        for (int32_t i = 0; i >= 0; i = merger_.symbols[size_t(i)].next) {
            const Symbol& symbol = merger_.symbols[size_t(i)];
            emit(word.substr(symbol.begin, symbol.length), symbol.id);
        }
    }

    void push(Token token) {
        output_->push_back(token);
        previous_is_unknown_ = false;
    }

    /// `id`: the token of a merged symbol; kAbsent for a single character, which is looked up here.
    void emit(std::string_view text, Token id) {
        if (id == TextIndex::kAbsent) id = model_.pieces_.find(text);
        if (id == TextIndex::kAbsent) return emit_bytes(text);
        if (model_.table_.kinds[size_t(id)] == TokenKind::Unused) return emit_parts(text);
        push(id);
    }

    /// An unused token helps merging but must not come out: it is taken apart as it was put together.
    void emit_parts(std::string_view text) {
        std::vector<std::string_view> pending{text};
        while (!pending.empty()) {
            const std::string_view part = pending.back();
            pending.pop_back();
            const Token id = model_.pieces_.find(part);
            const auto split = unused_splits_.find(part);
            if (id == TextIndex::kAbsent) {
                emit_bytes(part);
            } else if (model_.table_.kinds[size_t(id)] == TokenKind::Unused &&
                       split != unused_splits_.end()) {
                pending.push_back(part.substr(split->second));
                pending.push_back(part.substr(0, split->second));
            } else {
                push(id);
            }
        }
    }

    void emit_bytes(std::string_view text) {
        for (const char c : text) {
            if (model_.byte_tokens_[uint8_t(c)] == TextIndex::kAbsent) return emit_unknown(text);
        }
        for (const char c : text) push(model_.byte_tokens_[uint8_t(c)]);
    }

    /// A run of unknown characters is one unknown token, as in SentencePiece.
    void emit_unknown(std::string_view text) {
        if (model_.unknown_ < 0) {
            fail("'{}' has no token in this vocabulary, which has no unknown token either", text);
        }
        if (!previous_is_unknown_) output_->push_back(model_.unknown_);
        previous_is_unknown_ = true;
    }

    const ScoreMerging& model_;
    std::vector<Token>* output_ = nullptr;
    WordMemo memo_;
    Merger merger_;
    std::unordered_map<std::string_view, size_t>
        unused_splits_;  // text of an unused token → bytes of its left part
    bool previous_is_unknown_ = false;
};

std::unique_ptr<TokenModel::Session> ScoreMerging::start(size_t text_bytes) const {
    return std::make_unique<Session>(*this, text_bytes);
}

}  // namespace ingot::runtime

#include "runtime/tokenizer/word_piece.h"

#include <algorithm>

#include "format/error.h"
#include "runtime/tokenizer/word_memo.h"
#include "runtime/tokenizer/words.h"

namespace ingot::runtime {
namespace {

Token read_unknown(const TokenizerRecipe& recipe, const TokenTable& table) {
    const uint64_t unknown = recipe.number("unk", uint64_t(table.unknown.value_or(-1)));
    if (unknown >= table.size()) {
        fail(
            "the vocabulary has no unknown token (tokenizer.ggml.unknown_token_id), which its kind needs; "
            "convert the model again");
    }
    return Token(unknown);
}

size_t count_characters(std::string_view text) {
    size_t n = 0;
    for (const char c : text) n += (uint8_t(c) & 0xc0) != 0x80;
    return n;
}

}  // namespace

WordPiece::WordPiece(const TokenizerRecipe& recipe, const TokenTable& table)
    : max_word_(recipe.number("max_word", SIZE_MAX)), unknown_(read_unknown(recipe, table)) {
    std::vector<std::pair<std::string_view, int32_t>> starts, continues;
    const std::vector<Token>& marked = recipe.continuing;
    for (const ModelToken& token : recipe.vocabulary) {
        const bool goes_on = std::binary_search(marked.begin(), marked.end(), token.id);
        if (token.text.starts_with(kSpaceMark) && !goes_on) {
            starts.emplace_back(token.text.substr(kSpaceMark.size()), token.id);
        } else {
            continues.emplace_back(token.text, token.id);
        }
    }
    starts_ = Trie(std::move(starts));
    continues_ = Trie(std::move(continues));
}

class WordPiece::Session final : public TokenModel::Session {
  public:
    Session(const WordPiece& model, size_t text_bytes) : model_(model), memo_(text_bytes) {}

    void encode(std::string_view word, std::vector<Token>& output) override {
        memo_.append(word, output, [&] {
            const size_t n_before = output.size();
            if (count_characters(word) <= model_.max_word_ && cut(word, output)) return;
            output.resize(n_before);
            output.push_back(model_.unknown_);
        });
    }

  private:
    bool cut(std::string_view word, std::vector<Token>& output) const {
        for (size_t begin = 0; begin < word.size();) {
            const Trie& trie = begin == 0 ? model_.starts_ : model_.continues_;
            int32_t state = Trie::kRoot;
            Token longest = Trie::kNone;
            size_t longest_end = begin;
            for (size_t end = begin; end < word.size();) {
                state = trie.next(state, uint8_t(word[end++]));
                if (state == Trie::kNone) break;
                if (trie.value(state) == Trie::kNone) continue;
                longest = trie.value(state);
                longest_end = end;
            }
            if (longest == Trie::kNone) return false;
            output.push_back(longest);
            begin = longest_end;
        }
        return true;
    }

    const WordPiece& model_;
    WordMemo memo_;
};

std::unique_ptr<TokenModel::Session> WordPiece::start(size_t text_bytes) const {
    return std::make_unique<Session>(*this, text_bytes);
}

WordLevel::WordLevel(const TokenizerRecipe& recipe, const TokenTable& table)
    : index_(table.size()), unknown_(Token(recipe.number("unk", uint64_t(table.unknown.value_or(-1))))) {
    for (const ModelToken& token : recipe.vocabulary) index_.insert(token.text, token.id);
}

class WordLevel::Session final : public TokenModel::Session {
  public:
    explicit Session(const WordLevel& model) : model_(model) {}

    void encode(std::string_view word, std::vector<Token>& output) override {
        const Token token = model_.index_.find(word);
        if (token >= 0 || model_.unknown_ >= 0) output.push_back(token >= 0 ? token : model_.unknown_);
    }

  private:
    const WordLevel& model_;
};

std::unique_ptr<TokenModel::Session> WordLevel::start(size_t) const {
    return std::make_unique<Session>(*this);
}

}  // namespace ingot::runtime

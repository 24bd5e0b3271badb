#pragma once
#include <string>

#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/recipe.h"
#include "runtime/tokenizer/text_index.h"
#include "runtime/tokenizer/trie.h"

namespace ingot::runtime {

/// WordPiece: a word is cut from left to right, each time at the longest token. A word that cannot be cut up
/// to its end is one unknown token. O(n × longest token).
class WordPiece final : public TokenModel {
  public:
    /// Options of the recipe: max_word=N characters (longer words are unknown), unk=ID. Tokens are in GGUF's
    /// form: those that start a word have a ▁ in front, the others have nothing.
    WordPiece(const TokenizerRecipe& recipe, const TokenTable& table);

    std::unique_ptr<TokenModel::Session> start(size_t text_bytes) const override;

  private:
    class Session;

    Trie starts_, continues_;  // tokens that start a word, tokens that go on with one
    size_t max_word_ = 0;      // characters
    Token unknown_ = -1;
};

/// WordLevel: a piece is a token or it is unknown.
class WordLevel final : public TokenModel {
  public:
    WordLevel(const TokenizerRecipe& recipe, const TokenTable& table);

    std::unique_ptr<TokenModel::Session> start(size_t text_bytes) const override;

  private:
    class Session;

    TextIndex index_;
    Token unknown_ = -1;
};

}  // namespace ingot::runtime

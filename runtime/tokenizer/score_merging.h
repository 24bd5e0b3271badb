#pragma once
#include <array>
#include <vector>

#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/recipe.h"
#include "runtime/tokenizer/text_index.h"
#include "runtime/tokenizer/trie.h"

namespace ingot::runtime {

/// SentencePiece BPE: of all neighbours whose joined text is a token, those with the best score are joined
/// first. Characters that are no token become byte tokens, or the unknown token.
class ScoreMerging final : public TokenModel {
  public:
    ScoreMerging(const TokenizerRecipe& recipe, const TokenTable& table);

    std::unique_ptr<TokenModel::Session> start(size_t text_bytes) const override;

  private:
    class Session;

    const TokenTable& table_;
    TextIndex pieces_;                // tokens that merging may produce
    Trie user_defined_;               // texts that stay whole
    size_t longest_piece_ = 0;        // bytes
    std::vector<uint32_t> priority_;  // by token: ascending where scores descend
    std::array<Token, 256> byte_tokens_{};
    Token unknown_ = -1;
    bool has_all_bytes_ = false;
    /// No token has a ▁ after another character: then merges never cross the front of a word.
    bool words_are_independent_ = true;
};

}  // namespace ingot::runtime

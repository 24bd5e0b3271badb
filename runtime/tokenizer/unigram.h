#pragma once
#include <array>
#include <vector>

#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/recipe.h"
#include "runtime/tokenizer/trie.h"

namespace ingot::runtime {

/// The unigram language model (Kudo, 2018): of all ways to cut a piece into tokens, the one whose scores (log
/// probabilities) have the greatest sum, found by Viterbi's algorithm. O(n × longest token).
///
/// The sums are compared in two ways, as the two libraries do, for ties and near-ties decide what comes out:
/// Hugging Face's in float64; SentencePiece's (option "float32") rounded to float32 after each token, with
/// user-defined tokens preferred and unused ones left out.
class Unigram final : public TokenModel {
  public:
    /// Options of the recipe: float32, byte_fallback, unk=ID, separate_unk.
    Unigram(const TokenizerRecipe& recipe, const GgufHeader& header, const TokenTable& table);

    std::unique_ptr<TokenModel::Session> start(size_t text_bytes) const override;

  private:
    class Session;

    Trie trie_;
    std::vector<double> scores_;  // by token
    std::array<Token, 256> byte_tokens_{};
    Token unknown_ = -1;
    double unknown_score_ = 0;
    bool float32_ = false, byte_fallback_ = false, fuse_unknown_ = true;
};

}  // namespace ingot::runtime

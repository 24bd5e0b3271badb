#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/recipe.h"
#include "runtime/tokenizer/text_index.h"

namespace ingot::runtime {

/// Byte-pair encoding by a list of merges: a piece is its bytes or characters at first; of all neighbours
/// that some merge joins, those of the first such merge are joined first.
class BytePair final : public TokenModel {
  public:
    /// Options of the recipe: byte_fallback, fuse_unk, ignore_merges, drop_unknown, unk=ID, prefix=TEXT (of
    /// tokens that continue a word), suffix=TEXT (of tokens that end one).
    BytePair(const TokenizerRecipe& recipe, const GgufHeader& header, const TokenTable& table);

    std::unique_ptr<TokenModel::Session> start(size_t text_bytes) const override;

  private:
    class Session;
    /// Two neighbours → what they merge into. Open addressing, at most half full.
    struct PairSlot {
        int32_t left = -1, right = -1;
        MergeCandidate merged;
    };

    void read_merges(const GgufHeader& header);
    void add_merge(int32_t left, int32_t right, uint32_t rank, int32_t merged);
    bool is_token(int32_t symbol) const { return symbol >= 0 && uint32_t(symbol) < n_tokens_; }
    int32_t symbol_of(std::string_view text);
    MergeCandidate find_pair(int32_t left, int32_t right) const;

    bool byte_level_, byte_fallback_, fuse_unknown_, ignore_merges_, drop_unknown_;
    std::string prefix_, suffix_;
    Token unknown_ = TextIndex::kAbsent;
    uint32_t n_tokens_ = 0;
    std::vector<std::string_view> texts_;  // by token; empty where the token takes no part
    std::string decoded_;                  // what texts_ points into where bytes were written as characters
    TextIndex index_;                      // text → symbol
    /// Symbols below n_tokens_ are tokens; merges may pass through texts that are none, numbered after them.
    std::vector<std::unique_ptr<std::string>> other_symbols_;
    std::array<int32_t, 256> byte_symbols_{};  // of one byte as text; TextIndex::kAbsent where it is none
    std::array<int32_t, 256> byte_tokens_{};   // <0x00> …
    std::vector<PairSlot> pairs_;
    /// No token has a ▁ after another character: then merges never cross the front of a word.
    bool words_are_independent_ = false;
};

}  // namespace ingot::runtime

#pragma once
#include <array>

#include "runtime/tokenizer/special_matcher.h"
#include "runtime/tokenizer/text_index.h"
#include "runtime/tokenizer/token_table.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// SentencePiece BPE, tokenizer.ggml.model = "llama". Spaces are written as ▁ (U+2581) and one is put in
/// front; of all neighbours whose joined text is a token, those with the best score are joined first.
/// Characters that are no token become byte tokens.
class SentencePieceTokenizer final : public Tokenizer {
  public:
    explicit SentencePieceTokenizer(const GgufHeader& header);

    std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const override;
    std::string token_bytes(Token token, bool special) const override;
    uint32_t size() const override { return table_.size(); }
    std::string_view token_text(Token token) const override;

  protected:
    bool space_follows(Token token) const override;

  private:
    class Session;  // one call of encode()

    TokenTable table_;
    SpecialMatcher specials_;
    TextIndex pieces_;                // tokens that merging may produce
    size_t longest_piece_ = 0;        // bytes
    std::vector<uint32_t> priority_;  // by token: ascending where scores descend
    std::array<Token, 256> byte_tokens_{};
    bool has_all_bytes_ = false;
    /// No token has a ▁ after another character: then merges never cross the front of a word.
    bool words_are_independent_ = true;
};

}  // namespace ingot::runtime

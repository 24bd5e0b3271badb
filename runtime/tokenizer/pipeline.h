#pragma once
#include <memory>
#include <string>
#include <vector>

#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/decoder.h"
#include "runtime/tokenizer/model.h"
#include "runtime/tokenizer/normalizer.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/recipe.h"
#include "runtime/tokenizer/token_table.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// Every tokenizer there is, as a sequence of stages:
///
///     text ─ added tokens ─► normalizer ─ added tokens ─► pre-tokenizer ─► model ─► ids
///
/// Added tokens cut the text first; some are looked for in the normalized text only.
class Pipeline final : public Tokenizer {
  public:
    explicit Pipeline(const GgufHeader& header);

    std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const override;
    std::string token_bytes(Token token, bool special) const override;
    std::string decode(const std::vector<Token>& tokens, bool special) const override;
    uint32_t size() const override { return table_.size(); }
    std::string_view token_text(Token token) const override;

  private:
    bool space_follows(Token token) const;

    TokenTable table_;
    TokenizerRecipe recipe_;
    std::vector<uint8_t> charsmap_bytes_;
    Charsmap charsmap_;
    Trie user_defined_;  // SentencePiece: texts that its normalizer leaves alone
    AddedTokens added_, added_normalized_;
    std::vector<std::string> written_out_;  // texts of added tokens and the like; empty for all others
    std::unique_ptr<Normalizer> normalizer_;
    std::unique_ptr<PreTokenizer> pre_tokenizer_;
    std::unique_ptr<TokenModel> model_;
    Decoder decoder_;
};

}  // namespace ingot::runtime

#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "runtime/tokenizer/merge.h"
#include "runtime/tokenizer/pre_tokenizer.h"
#include "runtime/tokenizer/special_matcher.h"
#include "runtime/tokenizer/text_index.h"
#include "runtime/tokenizer/token_table.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// Byte-level BPE, tokenizer.ggml.model = "gpt2". Regular expressions cut the text into pieces; in each piece
/// the bytes are merged in the order of the file's list of merges.
class ByteLevelTokenizer final : public Tokenizer {
  public:
    explicit ByteLevelTokenizer(const GgufHeader& header);

    std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const override;
    std::string token_bytes(Token token, bool special) const override;
    uint32_t size() const override { return table_.size(); }
    std::string_view token_text(Token token) const override;

  protected:
    bool space_follows(Token) const override { return false; }

  private:
    /// Two neighbours → what they merge into. Open addressing, at most half full.
    struct PairSlot {
        int32_t left = -1, right = -1;
        MergeCandidate merged;
    };
    void read_pre_tokenizer(const GgufHeader& header);
    void read_merges(const GgufHeader& header);
    bool is_token(int32_t symbol) const { return symbol >= 0 && uint32_t(symbol) < table_.size(); }
    int32_t symbol_of(std::string_view bytes);
    MergeCandidate find_pair(int32_t left, int32_t right) const;
    void encode_piece(std::string_view piece, Merger& merger, std::vector<Token>& output) const;

    TokenTable table_;
    SpecialMatcher specials_;
    /// Bytes of every token, where its text writes them as printable characters (Ġ for the space).
    std::vector<std::string_view> bytes_;
    std::string decoded_;  // what bytes_ points into
    TextIndex index_;      // bytes → symbol
    /// Symbols below size() are tokens; merges may pass through texts that are none, which are numbered after
    /// them.
    std::vector<std::unique_ptr<std::string>> other_symbols_;
    std::array<int32_t, 256> byte_symbols_{};  // TextIndex::kAbsent where a byte is none
    std::vector<PairSlot> pairs_;
    std::unique_ptr<PreTokenizer> pre_tokenizer_;
    std::string normalizer_;  // "NFC" …; empty: none
    bool ignore_merges_ = false;
};

}  // namespace ingot::runtime

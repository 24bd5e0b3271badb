#pragma once
// How a file's tokenizer works, step by step: as Ingot's own keys say, or as llama.cpp treats a file that has
// none.
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "runtime/tokenizer/added_tokens.h"
#include "runtime/tokenizer/token_table.h"

namespace ingot::runtime {

/// The text by which a token takes part in the model; what tokens not in the model lack.
struct ModelToken {
    std::string_view text;
    Token id = -1;
};

struct TokenizerRecipe {
    TokenizerRecipe(const GgufHeader& header, const TokenTable& table);

    std::string model;  // "bpe", "sentencepiece_bpe", "unigram", "word_piece", "word_level", "rwkv"
    std::vector<std::string> normalizers, pre_tokenizers, decoders;  // steps
    std::vector<std::string> options;                                // of the model
    std::vector<AddedToken> added;
    std::vector<ModelToken> vocabulary;  // tokens that the model may produce from text, ids ascending
    std::vector<Token> continuing;     // "continues=ID": go on with a word, though their text begins with ▁
    std::vector<Token> before, after;  // what encode() puts around a text, where asked to
    bool byte_level = false;           // texts write bytes in the byte alphabet
    bool is_own = false;               // Ingot's keys; else derived from names
    std::vector<std::string> warnings;  // for the user

    bool has(std::string_view option) const;
    std::optional<std::string_view> option(std::string_view name) const;  // of "name=value"
    uint64_t number(std::string_view name, uint64_t otherwise) const;

    std::deque<std::string> owned_texts;  // what `vocabulary` points to where not into the header

  private:
    void read_own(const GgufHeader& header, const TokenTable& table);
    void derive(const GgufHeader& header, const TokenTable& table);
};

}  // namespace ingot::runtime

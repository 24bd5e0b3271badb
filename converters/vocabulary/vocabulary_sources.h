#pragma once
// The kinds of tokenizer files, each into a Vocabulary. Used by read_vocabulary() only.
#include "converters/vocabulary/special_tokens.h"
#include "converters/vocabulary/tokenizer_json.h"
#include "converters/vocabulary/vocabulary.h"

namespace ingot::converters {

/// SentencePiece's tokenizer.model: tokens, scores and types, and its own steps.
Vocabulary from_sentencepiece(const TokenizerFiles& files, const std::string& file, uint64_t n_rows);

/// A tokenizer in Hugging Face's terms: tokens, merges or scores, types.
Vocabulary from_tokenizer_json(const TokenizerFiles& files, const TokenizerJson& tokenizer,
                               const std::string& file, uint64_t n_rows);

/// Sets the steps of a tokenizer in Hugging Face's terms, and with them its model. Call it last: it puts
/// before and behind a text what `vocabulary` has decided about BOS and EOS.
void set_own_steps(const TokenizerJson& tokenizer, const std::string& file, Vocabulary& vocabulary);

/// tokenizer.ggml.pre, and a warning where llama.cpp will do something else than the checkpoint's tokenizer.
void name_pre_tokenizer(const TokenizerJson& tokenizer, const std::string& file, Vocabulary& vocabulary);

// --- Shared -----------------------------------------------------------------------------------------------

inline constexpr float kPaddingScore = -10000.0f;
inline constexpr float kAddedScore = -1000.0f;

struct AddedToken {
    uint64_t id;
    std::string text;
    bool special = false, single_word = false, left_strip = false, right_strip = false, normalized = false;

    /// As ingot.tokenizer.added_tokens has it. `in_model`: the model has the token too.
    std::string notation(bool in_model) const;
};

/// `n_rows` unused tokens, for the others to be put in.
void make_rows(Vocabulary& vocabulary, uint64_t n_rows);
void set_token(Vocabulary& vocabulary, size_t id, std::string text, TokenType type);
/// User-defined tokens are looked for in the text itself, which has spaces.
std::string with_spaces(std::string text);
bool is_byte_token(std::string_view text);
[[noreturn]] void too_many_tokens(const std::string& file, uint64_t n_tokens, uint64_t n_rows);
/// tokenizer_config.json's added_tokens_decoder: {"32000": {"content": "<pad>", "special": true, …}, …}.
std::vector<AddedToken> added_tokens_decoder(const TokenizerFiles& files);
/// Sets an added token, with a warning where the embedding has no row for it: fine-tunes often leave such
/// behind.
void set_added_token(const AddedToken& token, const std::string& file, Vocabulary& vocabulary);
/// The ids that `vocabulary.add_bos` and `add_eos` ask for, where `before` and `after` do not say it already.
void apply_bos_and_eos(Vocabulary& vocabulary);

}  // namespace ingot::converters

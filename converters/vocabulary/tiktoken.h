#pragma once
// Tokenizers in other forms than tokenizer.json and SentencePiece's: OpenAI's ranked lists of byte strings
// (*.tiktoken, tokenizer.model of Llama 3), Mistral's tekken.json, GPT-2's vocab.json with merges.txt.
#include <optional>
#include <span>

#include "converters/vocabulary/special_tokens.h"
#include "converters/vocabulary/tokenizer_json.h"

namespace ingot::converters {

/// Whether these are lines of base64 and a number.
bool is_tiktoken(std::span<const std::byte> bytes);

/// The first of these forms that the folder has; `file` becomes its name. Nothing when it has none.
std::optional<TokenizerJson> read_other_forms(const TokenizerFiles& files, std::string& file);

}  // namespace ingot::converters

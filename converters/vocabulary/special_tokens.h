#pragma once
// Which tokens are special, whether they are added to a text, and the chat template: the small JSON files
// beside the tokenizer.
#include <optional>
#include <string>
#include <vector>

#include "converters/sources/json.h"
#include "converters/vocabulary/tokenizer_json.h"
#include "converters/vocabulary/vocabulary.h"

namespace ingot::converters {

/// The files of a checkpoint's folder, as far as they are there.
struct TokenizerFiles {
    explicit TokenizerFiles(const std::string& folder);

    std::string folder;
    std::optional<Json> config, tokenizer_config, special_tokens_map, generation_config, added_tokens;

    std::string path(const char* name) const { return folder + "/" + name; }
    bool has(const char* name) const;
};

/// Fills bos … mask, add_bos …, end_of_generation and the chat templates of a vocabulary whose tokens are
/// complete. `tokenizer` is null where tokenizer.json is absent. The order of precedence is llama.cpp's: the
/// texts that tokenizer_config.json names, then the ids of config.json; after these, what no key of theirs
/// covers.
void read_special_tokens(const TokenizerFiles& files, const TokenizerJson* tokenizer, Vocabulary& vocabulary);

/// A special token's text in these files: "<s>" or {"content": "<s>", …}. Empty when absent.
std::string token_text(const Json& object, std::string_view key);

/// Some checkpoints mark tokens as ordinary that never occur in text.
bool looks_special(std::string_view text);

}  // namespace ingot::converters

#pragma once
// A checkpoint's tokenizer files -> tokenizer metadata.
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "format/metadata.h"

namespace ingot::converters {

/// Values of tokenizer.ggml.token_type.
enum class TokenType : int32_t {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6
};

/// What the tokenizer files say, in GGUF's terms. Token ids are positions in `tokens`.
struct Vocabulary {
    /// tokenizer.ggml.model: "llama" (SentencePiece BPE), "gpt2" (byte-level BPE), "t5" (unigram), "bert"
    /// (WordPiece)
    std::string model;
    std::string pre;  // tokenizer.ggml.pre: a name llama.cpp knows, or "default"
    std::vector<std::string> tokens;
    std::vector<float> scores;        // SentencePiece BPE and unigram
    std::vector<int32_t> types;       // TokenType
    std::vector<std::string> merges;  // "left right" in rank order; byte-level BPE
    std::optional<uint32_t> bos, eos, eot, unknown, separator, padding, mask;
    std::optional<bool> add_bos, add_eos, add_separator, add_space_prefix;
    std::string chat_template;  // Jinja source; empty when there is none
    std::vector<std::pair<std::string, std::string>> named_chat_templates;  // besides: name, source

    // What llama.cpp reads for some models only.
    std::vector<uint8_t> charsmap;  // SentencePiece's map of characters
    std::optional<bool> remove_extra_whitespaces, lowercases, strips_accents;

    // What llama.cpp has no keys for (format/ingot_keys.h).
    struct Own {
        std::string model;  // empty: the checkpoint's tokenizer could not be expressed
        std::vector<std::string> options, normalizers, pre_tokenizers, decoders;
        std::vector<std::string> added_tokens;  // "ID FLAGS TEXT"
        std::vector<uint32_t> before, after;
        std::vector<uint32_t> merge_ids;
        std::vector<double> scores;
    } own;
    std::vector<uint32_t> end_of_generation;

    std::vector<std::string> warnings;  // for the user
};

/// Reads the checkpoint's tokenizer (tokenizer.json, tokenizer.model of SentencePiece or tiktoken,
/// *.tiktoken, tekken.json, vocab.json with merges.txt), tokenizer_config.json, special_tokens_map.json,
/// generation_config.json, config.json and chat_template.jinja of a Hugging Face folder. `n_embedding_rows`
/// is the number of rows of the embedding: missing ids are filled with unused tokens named [PAD<id>], and
/// more tokens than rows are an error. Throws Error that names the file.
Vocabulary read_vocabulary(const std::string& folder, uint64_t n_embedding_rows);

/// Adds the tokenizer.* and ingot.tokenizer.* keys.
void write_vocabulary(const Vocabulary& vocabulary, Metadata& metadata);

}  // namespace ingot::converters

#pragma once
// tokenizer.json: the serialized form of Hugging Face's tokenizers library.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ingot::converters {

struct TokenizerJson {
    struct AddedToken {
        uint32_t id = 0;
        std::string text;
        bool special = false;
    };
    /// One element of the template that the post-processor puts around a text: a token, or the text itself
    /// (empty).
    using Template = std::vector<std::string>;

    std::string model_type;                                    // "BPE", "Unigram", "WordPiece" …
    std::vector<std::pair<std::string, uint32_t>> vocabulary;  // text, id; in the order of the file
    std::vector<std::pair<std::string, std::string>> merges;   // in rank order
    std::vector<AddedToken> added_tokens;
    std::string unknown_token;
    bool byte_fallback = false;  // characters that are no token become <0x…> tokens
    bool ignore_merges = false;
    bool has_sequence_decoder = false;

    bool is_byte_level = false;         // a ByteLevel step among pre-tokenizers or in the decoder
    bool adds_space_prefix = false;     // Prepend or Metaspace in front, or ByteLevel's add_prefix_space
    std::vector<std::string> patterns;  // what pre-tokenizers split by, PCRE2 syntax
    std::string unknown_step;           // the first pre-tokenizer that `patterns` cannot express; empty: none
    std::string normalizer;             // "NFC" …; empty: none
    std::string unknown_normalizer;     // the first normalizer that is not understood; empty: none

    bool has_byte_level_processor = false;
    bool has_template = false;
    Template single, pair;

    /// Throws Error when the file is missing, no JSON, larger than 256 MiB, nested deeper than 64 levels, or
    /// not of this form; when a token or an id comes twice.
    static TokenizerJson read_file(const std::string& path);
    static TokenizerJson parse(std::string_view json, const std::string& file);
};

}  // namespace ingot::converters

#pragma once
// tokenizer.json: the serialized form of Hugging Face's tokenizers library. Other forms (vocab.json with
// merges.txt, tiktoken's, tekken.json) are read into the same description.
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
        bool special = false, single_word = false, left_strip = false, right_strip = false,
             normalized = false;
    };
    /// One element of the template that the post-processor puts around a text: a token, or the text itself
    /// (empty).
    using Template = std::vector<std::string>;

    // The model.
    std::string model_type;                                    // "BPE", "Unigram", "WordPiece", "WordLevel"
    std::vector<std::pair<std::string, uint32_t>> vocabulary;  // text, id; in the order of the file
    std::vector<double> scores;                                // of `vocabulary`; Unigram
    std::vector<std::pair<std::string, std::string>> merges;   // in rank order
    std::vector<AddedToken> added_tokens;
    std::string unknown_token;
    std::optional<uint64_t> unknown_id;  // Unigram names it by id
    bool byte_fallback = false;          // characters that are no token become <0x…> tokens
    bool ignore_merges = false;
    bool fuse_unknown = false;           // a run of unknown characters is one token
    std::string continuing_prefix;       // of tokens that continue a word: "##"
    std::string word_suffix;             // of tokens that end a word: "</w>"
    uint64_t max_word_characters = 100;  // WordPiece: longer words are unknown

    // What happens before and after it, as steps (SPEC.md, section 3).
    std::vector<std::string> normalizers, pre_tokenizers, decoders;
    std::vector<uint8_t> charsmap;  // of the step "charsmap"
    bool is_byte_level = false;     // bytes are written as characters
    bool adds_space_prefix = false;
    std::string unknown_step;                        // the first step that cannot be expressed; empty: none
    std::optional<bool> lowercases, strips_accents;  // BertNormalizer

    bool has_byte_level_processor = false;
    bool has_template = false;
    Template single, pair;
    std::vector<uint32_t> before, after;  // ids of `single` around the text

    /// Patterns that cut text into matches and what lies between; nothing where another step is among them.
    std::optional<std::vector<std::string>> patterns() const;

    /// Throws Error when the file is missing, no JSON, larger than 256 MiB, nested deeper than 64 levels, or
    /// not of this form; when a key comes twice in one object.
    static TokenizerJson read_file(const std::string& path);
    static TokenizerJson parse(std::string_view json, const std::string& file);
};

}  // namespace ingot::converters

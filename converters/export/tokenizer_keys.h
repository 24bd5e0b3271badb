#pragma once
// What the keys of a GGUF file say about its tokenizer, as far as an export needs it.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "converters/vocabulary/vocabulary.h"
#include "format/gguf.h"

namespace ingot::converters {

/// "split", "isolated", "\p{N}": a step of SPEC.md, section 3, cut at its first `n_tabs` TABs.
std::vector<std::string_view> parts_of_step(std::string_view step, size_t n_tabs);

/// In the terms of Ingot's own keys, whether the file has them or only `tokenizer.ggml.*`: then the steps are
/// those by which such a file is read. Texts are views into the header.
struct TokenizerKeys {
    enum class Model { Bpe, SentencePieceBpe, Unigram, WordPiece, WordLevel };

    struct AddedToken {
        uint64_t id = 0;
        std::string_view flags, text;
        bool has(char flag) const { return flags.find(flag) != flags.npos; }
    };

    /// Throws Error when keys are missing, damaged, or of a kind that is not known.
    explicit TokenizerKeys(const GgufHeader& header);

    Model model{};
    std::string ggml_model;  // tokenizer.ggml.model
    std::vector<std::string_view> tokens, merges;
    std::vector<float> scores;
    std::vector<double> exact_scores;  // where `scores` do not hold them
    std::vector<int64_t> types, merge_ids;
    std::vector<std::string> options, normalizers, pre_tokenizers, decoders;
    std::vector<AddedToken> added;
    std::vector<int64_t> before, after;  // ids that stand before a text and behind it
    std::optional<uint64_t> bos, eos, unknown, padding, separator, mask;
    bool add_bos = false, add_eos = false, add_space_prefix = true, remove_extra_whitespaces = false;
    std::string_view charsmap;

    bool has_option(std::string_view name) const;
    /// The values of NAME=VALUE.
    std::vector<std::string_view> option_values(std::string_view name) const;
    std::string_view option_value(std::string_view name, std::string_view otherwise) const;
    bool is(size_t id, TokenType type) const { return types[id] == int64_t(type); }
    /// The token as its own library writes it: "##ing", where the file has "ing".
    std::string text(uint64_t id) const;
    std::optional<std::string> text(std::optional<uint64_t> id) const;

  private:
    void read_own(const GgufHeader& header, std::string_view own_model);
    void read_bpe(const GgufHeader& header);
    void read_word_piece(const GgufHeader& header);
    void read_added(const GgufHeader& header);

    std::vector<std::string_view> added_texts_;  // by id; empty unless added
    std::vector<bool> is_continued_;             // by id: WordPiece tokens of option continues=ID
    bool has_own_keys_ = false;
};

}  // namespace ingot::converters

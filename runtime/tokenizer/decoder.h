#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::runtime {

/// Token texts → bytes of text (SPEC.md, section 3, lists the steps). Immutable and thread-safe.
class Decoder {
  public:
    /// `marks_words`: the texts of tokens that start a word begin with ▁, those that continue one have no
    /// prefix (GGUF's way to write WordPiece vocabularies).
    Decoder(std::span<const std::string> steps, bool marks_words);

    /// The bytes of one token, given its text.
    std::string bytes_of(std::string_view token_text) const;
    /// The same for an added token, whose text is written out whatever the vocabulary's way.
    std::string bytes_of_added(std::string_view token_text) const;

    /// What the unknown token stands for in a text without control tokens.
    const std::string& unknown_text() const { return unknown_text_; }

    /// Whether the first token's bytes begin with something that is not part of the text.
    bool drops_leading_space() const { return front_ != Front::Stays; }
    /// Whether the next token counts as first too when nothing of the text is there yet.
    bool drops_until_text() const { return until_text_; }
    /// Takes that away.
    void drop_front(std::string& first_bytes) const;
    /// Whether the space behind the last token is not part of the text.
    bool drops_trailing_space() const { return !suffix_.empty(); }

  private:
    enum class Front { Stays, LosesSpace, LosesAllSpaces };
    struct Replacement {
        std::string from, to;
    };
    std::string separated(std::string_view token_text) const;
    std::string replaced(std::string bytes) const;

    std::vector<Replacement> replacements_;
    std::string suffix_;  // ends a word: becomes a space
    std::string unknown_text_;
    std::string prefix_;  // continues a word: no space in front
    Front front_ = Front::Stays;
    bool until_text_ = false;
    bool byte_level_ = false, byte_fallback_ = false, marks_words_ = false;
    bool separates_ = false;  // a space in front of every token, but for those with the prefix
};

}  // namespace ingot::runtime

#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::runtime {

/// Token texts → bytes of text (SPEC.md, section 3, lists the steps). Immutable and thread-safe.
class Decoder {
  public:
    explicit Decoder(std::span<const std::string> steps);

    /// The bytes of one token, given its text.
    std::string bytes_of(std::string_view token_text) const;
    /// Whether the space in front of the first token is not part of the text.
    bool drops_leading_space() const { return drops_leading_space_; }
    bool has_byte_fallback() const { return byte_fallback_; }

  private:
    struct Replacement {
        std::string from, to;
    };
    std::vector<Replacement> replacements_;
    std::string suffix_;  // ends a word: becomes a space
    bool byte_level_ = false, byte_fallback_ = false, word_piece_ = false, drops_leading_space_ = false;
};

}  // namespace ingot::runtime

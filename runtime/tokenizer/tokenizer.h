#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace ingot::runtime {

using Token = int32_t;

/// Text -> token ids and back, as the file's tokenizer metadata says. Immutable and thread-safe.
/// Encoding is linear in the text (times a logarithm), whatever the text.
class Tokenizer {
  public:
    /// Reads and validates the tokenizer.* keys (HOSTILE_INPUT rows 33–37: every one an Error). The header
    /// must outlive the tokenizer: token texts are views into it.
    static std::unique_ptr<Tokenizer> from_header(const GgufHeader& header);
    virtual ~Tokenizer() = default;

    /// `add_special`: BOS/EOS as the file asks. `parse_special`: texts of control tokens ("<s>") inside
    /// `text` become those tokens; otherwise they are ordinary text (user-defined tokens are always
    /// recognised). Invalid UTF-8 is encoded byte by byte where the vocabulary has byte tokens.
    virtual std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const = 0;
    /// Bytes of one token. Control tokens have none unless `special`. Concatenated over tokens this is the
    /// text, but for a space at its ends that encode() adds (see decode()).
    virtual std::string token_bytes(Token token, bool special) const = 0;
    /// The whole text; the spaces that encode() added at its ends are removed.
    virtual std::string decode(const std::vector<Token>& tokens, bool special) const = 0;

    virtual uint32_t size() const = 0;                           // tokens
    virtual std::string_view token_text(Token token) const = 0;  // as stored
    std::optional<Token> bos, eos, eot, unknown;
    bool add_bos = false, add_eos = false, add_space_prefix = false;
    std::vector<std::string> warnings;  // for the user: where the file leaves its tokenizer to a guess
    /// Ends generation: EOS, EOT and whatever the file lists as such.
    bool is_end_of_generation(Token token) const;

  protected:
    std::vector<Token> end_of_generation_;  // ascending
};

}  // namespace ingot::runtime

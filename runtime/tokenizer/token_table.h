#pragma once
// The vocabulary as the file's metadata states it, validated once: what every tokenizer starts from.
#include <optional>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// Values of tokenizer.ggml.token_type.
enum class TokenKind : uint8_t { Undefined = 0, Normal, Unknown, Control, UserDefined, Unused, Byte };

inline constexpr uint64_t kMaxTokens = uint64_t(1) << 31;  // ids are int32
inline constexpr uint64_t kMaxTokenBytes = uint64_t(64)
                                           << 10;  // the longest token of real vocabularies has 256

/// Views into the header's bytes. Construction checks HOSTILE_INPUT rows 33–37 and 45; linear in the header.
struct TokenTable {
    explicit TokenTable(const GgufHeader& header);

    std::vector<std::string_view> texts;
    std::vector<TokenKind> kinds;  // as many as texts
    std::vector<float> scores;     // as many as texts, or empty when the file has none
    std::optional<Token> bos, eos, eot, unknown;
    std::vector<Token> end_of_generation;  // ascending, without duplicates

    uint32_t size() const { return uint32_t(texts.size()); }
    /// Control tokens and the unknown token have no text of their own in what a user reads.
    bool is_hidden(Token id) const {
        return kinds[size_t(id)] == TokenKind::Control || kinds[size_t(id)] == TokenKind::Unknown;
    }
};

/// The value of a byte token's text, "<0x0A>" → 10; nothing when the text has another form.
std::optional<uint8_t> parse_byte_token(std::string_view text);

}  // namespace ingot::runtime

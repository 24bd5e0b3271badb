#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tokenizer/trie.h"

namespace ingot::runtime {

/// A text that is a token wherever it stands, before anything else happens to the text.
struct AddedToken {
    Token id = -1;
    std::string text;
    bool special = false;      // control: found only where the caller allows it
    bool single_word = false;  // only between characters that belong to no word
    bool left_strip = false;   // takes the white space before it
    bool right_strip = false;  // takes the white space behind it
    bool normalized = false;   // looked for in the normalized text
};

/// Finds added tokens in text: the leftmost, and of those that start there the longest. Immutable and
/// thread-safe.
class AddedTokens {
  public:
    AddedTokens() = default;
    explicit AddedTokens(std::vector<AddedToken> tokens);

    bool empty() const { return tokens_.empty(); }

    /// Calls part(begin, end, token) for all of `text` in order; token is -1 for text between tokens.
    template <typename Part>
    void split(std::string_view text, bool parse_special, const Part& part) const {
        size_t begin = 0;
        for (size_t from = 0; begin < text.size();) {
            const Match match = find(text, from, begin, parse_special);
            if (match.token < 0) break;
            if (match.begin > begin) part(begin, match.begin, Token(-1));
            part(match.begin, match.end, match.token);
            begin = from = match.end;
        }
        if (begin < text.size()) part(begin, text.size(), Token(-1));
    }

  private:
    struct Match {
        size_t begin = 0, end = 0;  // bytes
        Token token = -1;
    };
    /// The first match at or after `from`; the white space that it takes ends at `taken` to the left.
    Match find(std::string_view text, size_t from, size_t taken, bool parse_special) const;

    std::vector<AddedToken> tokens_;
    Trie trie_;                                          // texts → positions in tokens_
    std::vector<bool> starts_ = std::vector<bool>(256);  // by byte: some token starts with it
};

}  // namespace ingot::runtime

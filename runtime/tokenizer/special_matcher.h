#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/token_table.h"

namespace ingot::runtime {

/// Finds control and user-defined tokens in text: the leftmost, and of those that start there the longest.
/// A trie over the texts of these tokens, by bytes. Immutable and thread-safe.
class SpecialMatcher {
  public:
    explicit SpecialMatcher(const TokenTable& table);

    struct Match {
        size_t begin = 0, end = 0;  // bytes
        Token token = -1;           // -1: nothing found, and begin = end = text.size()
    };
    /// The first match at or after `from`. Control and unknown tokens only when `parse_special`.
    Match find(std::string_view text, size_t from, bool parse_special) const;

  private:
    struct Node {
        int32_t first_child = -1, next_sibling = -1;
        uint8_t byte = 0;
        bool hidden = false;  // of token: control or unknown
        Token token = -1;
    };
    int32_t child(int32_t node, uint8_t byte) const;

    std::vector<Node> nodes_;     // [0] is the root
    std::vector<int32_t> roots_;  // (256): the root's children by byte, -1 where there is none
};

}  // namespace ingot::runtime

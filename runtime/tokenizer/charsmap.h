#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace ingot::runtime {

/// SentencePiece's precompiled map of characters: texts → what they become. The bytes (little-endian):
///
///     uint32           size of the trie in bytes, a multiple of 4
///     uint32 …         units of a double-array trie (Darts-clone)
///     bytes …          replacement texts, each ended by a NUL
///
///     unit:  31 is value │ 30 … 10 offset │ 9 offset is in units of 256 │ 8 has value │ 7 … 0 label
///            31 is value │ 30 … 0 the value: where the replacement begins
///
/// Immutable and thread-safe. Keeps a copy of the trie, and a view of the texts.
class Charsmap {
  public:
    Charsmap() = default;
    /// Throws Error when the sizes do not fit.
    explicit Charsmap(std::span<const uint8_t> bytes);

    struct Match {
        size_t length = 0;  // bytes of the text
        std::string_view replacement;
    };
    bool empty() const { return units_.empty(); }
    /// What `text` begins with: of several, the longest or the shortest. Nothing when there is none.
    std::optional<Match> longest(std::string_view text) const { return find(text, false); }
    std::optional<Match> shortest(std::string_view text) const { return find(text, true); }

  private:
    std::optional<Match> find(std::string_view text, bool shortest) const;

    std::vector<uint32_t> units_;
    std::string_view texts_;
};

}  // namespace ingot::runtime

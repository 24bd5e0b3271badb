#pragma once
// Regular expressions over tensor names, and names that come near to what was meant.
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot {

/// A regular expression that is looked for anywhere in a name (PCRE2, case-sensitive). Immutable and
/// thread-safe.
class NamePattern {
  public:
    /// Throws Error naming the pattern and the place when it is malformed.
    explicit NamePattern(std::string_view pattern);
    ~NamePattern();
    NamePattern(NamePattern&&) noexcept;
    NamePattern& operator=(NamePattern&&) = delete;

    /// Throws Error when the pattern needs too many steps: it would not end in a sensible time.
    bool matches(std::string_view name) const;

  private:
    struct Compiled;
    std::string text_;
    std::unique_ptr<Compiled> compiled_;
};

/// The fewest insertions, deletions and replacements of a byte that make one the other (Levenshtein 1966).
size_t edit_distance(std::string_view a, std::string_view b);

/// "blk.12.attn_q.weight" -> "blk.*.attn_q.weight": what all layers have in common. Other names unchanged.
std::string without_layer(std::string_view name);

/// The `n_wanted` names nearest to `wanted` (see edit_distance), layers taken
/// together; nearest first.
std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string_view> names,
                                       size_t n_wanted = 3);

}  // namespace ingot

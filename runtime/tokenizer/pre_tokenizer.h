#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::runtime {

/// Cuts text with a list of regular expressions. What a pattern matches is a piece, what lies between two
/// matches is a piece; the next pattern cuts each piece, seeing nothing around it. Immutable and thread-safe.
class PreTokenizer {
  public:
    /// Throws Error naming the pattern when one is malformed.
    explicit PreTokenizer(std::span<const std::string_view> patterns);
    ~PreTokenizer();

    struct Range {
        size_t begin, end;  // bytes
    };
    /// The pieces of `text`, in order and without gaps. Bytes that are no UTF-8 are pieces of their own.
    std::vector<Range> split(std::string_view text) const;

  private:
    struct Pattern;
    std::vector<std::unique_ptr<Pattern>> patterns_;
};

}  // namespace ingot::runtime

#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::runtime {

/// Cuts text into the pieces that a model encodes one by one, step after step (SPEC.md, section 3, lists the
/// steps). Immutable and thread-safe.
class PreTokenizer {
  public:
    /// Throws Error naming the step that is malformed.
    explicit PreTokenizer(std::span<const std::string> steps);
    ~PreTokenizer();

    struct Range {
        size_t begin, end;  // bytes
    };
    /// A text and its pieces, in order; what lies between two pieces was removed.
    struct Pieces {
        std::string_view text;
        std::vector<Range> ranges;
    };
    /// The pieces of `text`. `starts_input`: nothing stands before it. Steps that rewrite text put the new
    /// one into `texts`. Bytes that are no UTF-8 become pieces of their own as soon as something is split.
    Pieces split(std::string_view text, bool starts_input, std::deque<std::string>& texts) const;

    struct Compiled;  // one step

  private:
    std::vector<std::unique_ptr<Compiled>> steps_;
    bool leaves_alphabet_ = false;  // a step wrote bytes as characters, and the model wants bytes
};

}  // namespace ingot::runtime

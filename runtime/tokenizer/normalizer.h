#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/trie.h"

namespace ingot::runtime {

/// Rewrites text before it is cut and encoded, one step after the other (SPEC.md, section 3, lists them).
/// Bytes that are no UTF-8 pass through. Immutable and thread-safe; the tables must outlive it.
class Normalizer {
  public:
    struct Tables {
        const Charsmap* charsmap = nullptr;
        const Trie* user_defined = nullptr;  // pieces that SentencePiece's normalizer leaves alone
    };

    Normalizer(std::span<const std::string> steps, Tables tables);
    ~Normalizer();

    bool empty() const { return steps_.empty(); }
    std::string apply(std::string_view text) const;

    struct Compiled;  // one step

  private:
    std::vector<std::unique_ptr<Compiled>> steps_;
};

}  // namespace ingot::runtime

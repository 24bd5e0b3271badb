#pragma once
#include <algorithm>
#include <string_view>
#include <vector>

#include "runtime/tokenizer/text_index.h"

namespace ingot::runtime {

/// Remembers where in the output a word was encoded before, so that the next time its tokens are only copied:
/// text repeats its words. A table of fixed size that forgets on collision. Words must outlive it.
class WordMemo {
  public:
    static constexpr size_t kMaxWordBytes = 64;

    explicit WordMemo(size_t text_bytes) {
        size_t n_slots = 64;
        while (n_slots < text_bytes / 8 && n_slots < (size_t(1) << 15)) n_slots *= 2;
        slots_.resize(n_slots);
    }

    /// Appends the tokens of `word` to `output`, from memory or by calling encode(), which appends them
    /// itself.
    template <typename Encode>
    void append(std::string_view word, std::vector<Token>& output, const Encode& encode) {
        if (word.size() > kMaxWordBytes) return encode();
        const uint64_t hash = hash_text(word);
        Slot& slot = slots_[hash & (slots_.size() - 1)];
        const size_t end = output.size();
        if (slot.word == word) {
            output.resize(end + slot.n_tokens);
            std::copy_n(output.begin() + ptrdiff_t(slot.begin), slot.n_tokens,
                        output.begin() + ptrdiff_t(end));
            return;
        }
        encode();
        slot = {word, end, output.size() - end};
    }

  private:
    struct Slot {
        std::string_view word;
        size_t begin = 0, n_tokens = 0;  // in the output
    };
    std::vector<Slot> slots_;  // a power of two
};

}  // namespace ingot::runtime

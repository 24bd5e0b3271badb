#pragma once
// Byte-pair encoding proper: symbols in a row, the best mergeable pair of neighbours becomes one symbol,
// until no pair is mergeable. Shared by the SentencePiece and the byte-level tokenizers, which differ in what
// "best" means.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace ingot::runtime {

struct Symbol {
    uint32_t begin = 0;   // bytes from the start of the text
    uint32_t length = 0;  // bytes; 0 once it was merged into its left neighbour
    int32_t id = -1;      // token, or -1 for a character that is none
    int32_t previous = -1, next = -1;
};

struct MergeCandidate {
    uint32_t priority = 0;  // lower goes first
    int32_t id = -1;        // of the merged symbol; -1: the pair cannot be merged
};

/// Working memory, reused from word to word. Not thread-safe: one for each call of encode().
class Merger {
  public:
    std::vector<Symbol> symbols;

    void clear() { symbols.clear(); }
    void append(uint32_t begin, uint32_t length, int32_t id) {
        const int32_t index = int32_t(symbols.size());
        if (index > 0) symbols.back().next = index;
        symbols.push_back({begin, length, id, index - 1, -1});
    }

    /// Merges until nothing can be merged. `candidate(left, right)` says what the two would become. Of pairs
    /// with equal priority the leftmost goes first. O(n log n) for n symbols. The first symbol stays the
    /// first: walk symbols[0], symbols[symbols[0].next] and so on.
    template <typename Candidate>
    void merge(const Candidate& candidate) {
        if (symbols.size() < 2) return;
        queue_.clear();
        for (size_t i = 0; i + 1 < symbols.size(); ++i) consider(int32_t(i), candidate);
        std::make_heap(queue_.begin(), queue_.end(), After());
        while (!queue_.empty()) {
            const Entry best = queue_.front();
            std::pop_heap(queue_.begin(), queue_.end(), After());
            queue_.pop_back();
            Symbol& left = symbols[best.left];
            // Boundaries between symbols only ever disappear, so an entry is up to date exactly when its pair
            // still covers the same bytes.
            if (left.length == 0 || left.next < 0) continue;
            Symbol& right = symbols[size_t(left.next)];
            if (left.length + right.length != best.length) continue;

            left.length = best.length;
            left.id = best.id;
            left.next = right.next;
            right.length = 0;
            if (left.next >= 0) symbols[size_t(left.next)].previous = int32_t(best.left);
            if (left.previous >= 0) consider_and_sift(left.previous, candidate);
            consider_and_sift(int32_t(best.left), candidate);
        }
    }

  private:
    struct Entry {
        uint32_t priority, left;
        uint32_t length;  // bytes of the pair
        int32_t id;       // of the merged symbol
    };
    struct After {
        bool operator()(const Entry& a, const Entry& b) const {
            return a.priority != b.priority ? a.priority > b.priority : a.left > b.left;
        }
    };

    template <typename Candidate>
    bool consider(int32_t left, const Candidate& candidate) {
        const Symbol& a = symbols[size_t(left)];
        if (a.next < 0) return false;
        const Symbol& b = symbols[size_t(a.next)];
        const MergeCandidate merged = candidate(a, b);
        if (merged.id < 0) return false;
        queue_.push_back({merged.priority, uint32_t(left), a.length + b.length, merged.id});
        return true;
    }
    template <typename Candidate>
    void consider_and_sift(int32_t left, const Candidate& candidate) {
        if (consider(left, candidate)) std::push_heap(queue_.begin(), queue_.end(), After());
    }

    std::vector<Entry> queue_;
};

}  // namespace ingot::runtime

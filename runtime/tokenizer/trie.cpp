#include "runtime/tokenizer/trie.h"

#include <algorithm>

#include "format/error.h"

namespace ingot::runtime {

/// A base from which all of `bytes` (ascending) lead to free states.
size_t Trie::find_base(std::span<const uint8_t> bytes) {
    while (first_free_ < states_.size() && states_[first_free_].check != kNone) ++first_free_;
    size_t n_tried = 0;
    for (size_t candidate = std::max<size_t>(first_free_, size_t(bytes[0]) + 1);; ++candidate) {
        const size_t base = candidate - bytes[0];
        const bool fits = std::all_of(bytes.begin(), bytes.end(), [&](uint8_t byte) {
            return base + byte >= states_.size() || states_[base + byte].check == kNone;
        });
        if (fits) {
            // Crowded regions are left behind: a few free states are cheaper than trying them again.
            if (n_tried > 256) first_free_ = std::max(first_free_, candidate - 128);
            return base;
        }
        ++n_tried;
    }
}

Trie::Trie(std::vector<std::pair<std::string_view, int32_t>> entries) : states_(1) {
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    struct Range {
        size_t begin, end, depth;  // entries that agree in their first `depth` bytes
        int32_t state;
    };
    std::vector<Range> open{{0, entries.size(), 0, kRoot}};
    std::vector<uint8_t> bytes;
    std::vector<size_t> begins;
    for (size_t at = 0; at < open.size(); ++at) {
        Range range = open[at];
        while (range.begin < range.end && entries[range.begin].first.size() == range.depth) {
            if (range.depth > 0 && states_[size_t(range.state)].value == kNone)
                states_[size_t(range.state)].value = entries[range.begin].second;
            ++range.begin;
        }
        if (range.begin == range.end) continue;
        bytes.clear();
        begins.clear();
        for (size_t i = range.begin; i < range.end; ++i) {
            const uint8_t byte = uint8_t(entries[i].first[range.depth]);
            if (!bytes.empty() && bytes.back() == byte) continue;
            bytes.push_back(byte);
            begins.push_back(i);
        }
        begins.push_back(range.end);
        const size_t base = find_base(bytes);
        if (base + 256 > size_t(INT32_MAX)) fail("the vocabulary is too large");
        if (states_.size() < base + bytes.back() + 1) {
            if (states_.capacity() < base + 256) states_.reserve(2 * (base + 256));
            states_.resize(base + bytes.back() + 1);
        }
        states_[size_t(range.state)].base = int32_t(base);
        for (size_t i = 0; i < bytes.size(); ++i) {
            const int32_t child = int32_t(base + bytes[i]);
            states_[size_t(child)].check = range.state;
            open.push_back({begins[i], begins[i + 1], range.depth + 1, child});
        }
    }
}

}  // namespace ingot::runtime

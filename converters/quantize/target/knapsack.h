#pragma once
// One option of each item, so that all together fit and lose least: the multiple-choice knapsack problem.
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ingot::converters {

/// One way to store an item.
struct Option {
    uint64_t size_bytes = 0;
    double loss = 0;  // finite
};

struct Solution {
    std::vector<size_t> choice;  // by item: which of its options
    uint64_t size_bytes = 0;
    double loss = 0;
    /// No choice that fits loses less than this. Equal to `loss` when the solution is proven to be the best.
    double bound = 0;
    size_t n_states = 0;  // looked at: the work that the proof took

    /// How much better another choice could be, as a share of the loss.
    double gap() const { return loss > 0 ? (loss - bound) / loss : 0; }
};

/// Exact, unless more than `max_states` (24 bytes each) have to be kept at once; then the best of them are
/// followed, and `bound` says how far from the best the result can be at most. Deterministic. Throws Error
/// when nothing fits, or an item has no options.
Solution solve_knapsack(const std::vector<std::vector<Option>>& items, uint64_t budget_bytes,
                        size_t max_states = size_t{1} << 20);

}  // namespace ingot::converters

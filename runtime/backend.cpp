#include "runtime/backend.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace ingot::runtime {

void Backend::largest(const Buffer& x, int64_t n_rows, int64_t n, int64_t k, std::span<TokenLogit> found) {
    std::vector<float> rows(size_t(n_rows * n));
    download(x, std::as_writable_bytes(std::span(rows)));
    for (int64_t row = 0; row < n_rows; ++row) {
        // A heap, whose front is the worst of the best so far.
        const auto best = found.subspan(size_t(row * k), size_t(k));
        for (int64_t i = 0; i < n; ++i) {
            const float logit = rows[size_t(row * n + i)];
            const TokenLogit candidate{Token(i), std::isnan(logit) ? -INFINITY : logit};
            const auto end = best.begin() + std::min(i + 1, k);
            if (i >= k) {
                if (!is_better(candidate, best.front())) continue;
                std::pop_heap(best.begin(), end, is_better);
            }
            end[-1] = candidate;
            std::push_heap(best.begin(), end, is_better);
        }
        std::sort_heap(best.begin(), best.end(), is_better);
    }
}

}  // namespace ingot::runtime

#include "converters/quantize/feedback/second_moments.h"

#include <tbb/parallel_for.h>

#include <algorithm>

#include "converters/quantize/feedback/product.h"

namespace ingot::converters::feedback {

SecondMoments::SecondMoments(uint64_t n_columns, Form form)
    : n_columns_(n_columns), form_(form), sums_(size_bytes(n_columns, form) / sizeof(float)) {}

void SecondMoments::add(std::span<const float> rows, std::span<const float> reference) {
    const Index n = Index(n_columns_), n_rows = Index(rows.size()) / n;
    const Eigen::Map<const Matrix> x(rows.data(), n_rows, n);
    n_rows_ += uint64_t(n_rows);
    if (form_ == Form::Diagonal) {
        Eigen::Map<Eigen::RowVectorXf>(sums_.data(), n) += x.cwiseAbs2().colwise().sum();
        return;
    }
    const bool drifts = !reference.empty() && !std::ranges::equal(rows, reference);
    if (drifts && drift_.empty()) drift_.resize(sums_.size());
    // Panels of the upper triangle, cut alike for any number of threads.
    constexpr Index kPanel = 128;
    Matrix difference;
    if (drifts) {
        difference = Eigen::Map<const Matrix>(reference.data(), n_rows, n) - x;
        drift_energy_ += difference.cast<double>().squaredNorm();
    }
    tbb::parallel_for(Index(0), (n + kPanel - 1) / kPanel, [&](Index panel) {
        const Index begin = panel * kPanel, size = std::min(kPanel, n - begin);
        const Columns right{rows.data() + begin, n, n - begin};
        add_product({right.data, n, size}, right, n_rows, &sums_[size_t(begin * n + begin)], n);
        if (!drifts) return;
        add_product({&difference(0, begin), n, size}, {rows.data(), n, n}, n_rows, &drift_[size_t(begin * n)],
                    n);
    });
}

std::vector<float> SecondMoments::diagonal() const {
    if (form_ == Form::Diagonal) return sums_;
    std::vector<float> values(n_columns_);
    for (uint64_t i = 0; i < n_columns_; ++i) values[i] = sums_[i * n_columns_ + i];
    return values;
}

}  // namespace ingot::converters::feedback

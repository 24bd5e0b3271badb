#include "converters/quantize/feedback/error_feedback.h"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "converters/quantize/feedback/block_codec.h"
#include "converters/quantize/feedback/row_tile.h"
#include "format/error.h"

namespace ingot::converters::feedback {
namespace {

/// H with damping, in units of the mean of its diagonal.
Matrix damped(const SecondMoments& moments, double damping, float& unit) {
    const Index n = Index(moments.n_columns());
    Matrix result = Eigen::Map<const Matrix>(moments.sums().data(), n, n);
    result.triangularView<Eigen::StrictlyLower>() = result.transpose();
    const double mean = result.diagonal().cast<double>().mean();
    if (!result.allFinite() || !std::isfinite(mean))
        fail("second moments of {} columns are not finite: the calibration text drives the model to infinity",
             n);
    unit = mean > 0 ? float(mean) : 1;
    result /= unit;
    result.diagonal().array() += float(mean > 0 ? damping : 1);
    return result;
}

std::vector<Index> rounding_order(const Matrix& moments) {
    const Index n = moments.rows();
    std::vector<Index> chunks(size_t((n + kChunk - 1) / kChunk));
    std::iota(chunks.begin(), chunks.end(), Index(0));
    const auto sum = [&](Index chunk) {
        const Index begin = chunk * kChunk;
        return moments.diagonal().segment(begin, std::min(kChunk, n - begin)).sum();
    };
    std::ranges::stable_sort(chunks, std::greater<>(), sum);
    std::vector<Index> order;
    for (const Index chunk : chunks) {
        const auto begin = std::ptrdiff_t(order.size());
        for (Index i = chunk * kChunk; i < std::min(n, (chunk + 1) * kChunk); ++i) order.push_back(i);
        std::stable_sort(order.begin() + begin, order.end(),
                         [&](Index a, Index b) { return moments(a, a) > moments(b, b); });
    }
    return order;
}

/// U; false when H is not positive definite.
bool factorize(const Matrix& moments, const std::vector<Index>& order, Matrix& factor) {
    // With its columns in reverse, H = L Lᵀ. In order again that is H = R Rᵀ with R upper, so U = R⁻¹.
    const Index n = moments.rows();
    const auto reversed = [&](Index i) { return order[size_t(n - 1 - i)]; };
    Eigen::MatrixXd work(n, n);
    for (Index c = 0; c < n; ++c)
        for (Index r = 0; r < n; ++r) work(r, c) = moments(reversed(r), reversed(c));
    const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(work);  // in place
    if (cholesky.info() != Eigen::Success) return false;
    Eigen::MatrixXd inverse = Eigen::MatrixXd::Identity(n, n);
    cholesky.matrixL().solveInPlace(inverse);
    factor = Matrix::Zero(n, n);
    for (Index r = 0; r < n; ++r)
        for (Index c = r; c < n; ++c) factor(r, c) = float(inverse(n - 1 - r, n - 1 - c));
    return factor.allFinite() && (factor.diagonal().array() > 0).all();
}

/// How much of a regression's outcome is to be believed: what it explains, less what it would explain of
/// nothing but noise, as a part of the former (James and Stein 1961). `explained` and `total` are sums of
/// squares.
double believed(double explained, double total, double n_parameters, double n_rows) {
    if (n_rows <= n_parameters || explained <= 0) return 0;
    const double noise = std::max(total - explained, 0.0) / (n_rows - n_parameters);
    return std::max(1 - n_parameters * noise / explained, 0.0);
}

Matrix drift_correction(const SecondMoments& moments, const Curvature& curvature) {
    const Index n = curvature.n_columns();
    if (moments.drift().empty()) return {};
    const Eigen::Map<const Matrix> drift(moments.drift().data(), n, n);
    // H⁻¹ = Uᵀ U with its rows and columns in order, in units of the mean of H's diagonal.
    Matrix ordered(n, n);
    for (Index i = 0; i < n; ++i) ordered.col(i) = drift.col(curvature.order[size_t(i)]) / curvature.unit;
    const Matrix half = ordered * curvature.factor.transpose();
    const double belief = believed(half.cast<double>().squaredNorm(), moments.drift_energy() / curvature.unit,
                                   double(n), double(moments.n_rows()));
    ordered.noalias() = half * curvature.factor * float(belief);
    Matrix shift(n, n);
    for (Index i = 0; i < n; ++i) shift.col(curvature.order[size_t(i)]) = ordered.col(i);
    return shift;
}

std::vector<float> column_weights(const Curvature& curvature) {
    const Index n = curvature.n_columns();
    std::vector<double> costs(static_cast<size_t>(n));
    for (Index i = 0; i < n; ++i) {
        const double u = curvature.factor(i, i);
        costs[size_t(curvature.order[size_t(i)])] = 1 / (u * u);
    }
    const double mean = std::accumulate(costs.begin(), costs.end(), 0.0) / double(n);
    constexpr double kLeast = 1e-4;
    std::vector<float> weights;
    for (const double cost : costs) weights.push_back(float(std::max(cost / mean, kLeast)));
    return weights;
}

}  // namespace

ErrorFeedback::ErrorFeedback(const SecondMoments& moments, const FeedbackOptions& options)
    : options_(options) {
    // Sums of floats may lack a little to be positive definite: more damping helps.
    double damping = options.damping;
    for (int attempt = 0;; ++attempt, damping *= 10) {
        curvature_.moments = damped(moments, damping, curvature_.unit);
        curvature_.order = rounding_order(curvature_.moments);
        if (factorize(curvature_.moments, curvature_.order, curvature_.factor)) break;
        if (attempt == 3)
            fail("second moments of {} columns are not positive definite even with a damping of {}",
                 moments.n_columns(), damping);
    }
    curvature_.weights = column_weights(curvature_);
    curvature_.shift = drift_correction(moments, curvature_);
}

void ErrorFeedback::quantize(TensorType type, std::span<const float> rows,
                             std::span<std::byte> destination) const {
    const BlockCodec* codec = find_codec(type);
    if (codec == nullptr) fail("{} is no layout for error feedback", name(type));
    const uint64_t n_columns = uint64_t(curvature_.n_columns());
    const uint64_t row_size = row_bytes(type, n_columns);
    const uint64_t n_rows = rows.size() / n_columns;
    if (rows.size() % n_columns != 0 || destination.size() != n_rows * row_size)
        fail("{} values and {} bytes are no rows of {} columns as {}", rows.size(), destination.size(),
             n_columns, name(type));
    for (uint64_t begin = 0; begin < n_rows; begin += kTileRows) {
        const uint64_t n = std::min(kTileRows, n_rows - begin);
        RowTile tile(curvature_, *codec, rows.subspan(begin * n_columns, n * n_columns));
        tile.round();
        tile.refine(options_.n_sweeps);
        tile.store(destination.subspan(begin * row_size, n * row_size));
    }
}

}  // namespace ingot::converters::feedback

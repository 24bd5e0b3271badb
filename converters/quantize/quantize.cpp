#include "converters/quantize/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "converters/quantize/fit/fit.h"
#include "converters/quantize/plain.h"
#include "format/error.h"

namespace ingot::converters {
namespace {

/// No block can hold more: the largest half times Q6_K's largest scale and level. Larger values are encoded
/// as this one, which keeps the squares in the searches finite.
constexpr float kLargestMagnitude = 0x1p28f;

bool is_finite(float value) {
    return (std::bit_cast<uint32_t>(value) & 0x7f800000) != 0x7f800000;
}

/// NaN when there is one.
float largest_magnitude(std::span<const float> values) {
    return std::bit_cast<float>(plain::passes().largest_magnitude(values.data(), values.size()));
}

void check_finite(std::span<const float> source, uint64_t row_elements, TensorType type) {
    if (largest_magnitude(source) < std::numeric_limits<float>::infinity()) return;
    for (uint64_t i = 0; i < source.size(); ++i)
        if (!is_finite(source[i]))
            fail(
                "row {}, column {}: found {}, but {} can hold only finite numbers; the source is damaged or "
                "was saved after training diverged",
                i / row_elements, i % row_elements, source[i], name(type));
}

/// Finite values that half precision would turn into infinity make every output of the model NaN.
void check_half_range(std::span<const float> source, uint64_t row_elements) {
    constexpr float kRoundsToInfinity = 65520.0f;
    if (largest_magnitude(source) < kRoundsToInfinity) return;
    for (uint64_t i = 0; i < source.size(); ++i)
        if (is_finite(source[i]) && std::fabs(source[i]) >= kRoundsToInfinity)
            fail("row {}, column {}: {} is beyond F16's largest number, 65504; use BF16 or F32",
                 i / row_elements, i % row_elements, source[i]);
}

/// Weights of the columns, scaled to a mean of one, so that squares neither overflow nor vanish; empty when
/// no column has any. A column without importance among others keeps a little: its elements should still be
/// near what they were.
std::vector<float> normalized(std::span<const float> importance) {
    double total = 0;
    for (uint64_t i = 0; i < importance.size(); ++i) {
        if (!is_finite(importance[i]) || importance[i] < 0)
            fail("importance of column {}: found {}, expected a number that is not negative", i,
                 importance[i]);
        total += importance[i];
    }
    constexpr float kLeast = 1e-4f;
    if (total == 0) return {};
    std::vector<float> weights(importance.size());
    const double scale = double(importance.size()) / total;
    for (uint64_t i = 0; i < weights.size(); ++i) weights[i] = std::max(float(importance[i] * scale), kLeast);
    return weights;
}

/// Elements of a column count alike, except in two layouts with a minimum, where large values count for more:
/// √(mean square of the stretch + x²), to a mean of about one. Measured on the shipped model, this has the
/// lower divergence for Q2_K, and without importance for Q4_1 the lower perplexity at the same divergence;
/// elsewhere it loses (bench/results/quantize.md).
bool favours_large_values(TensorType type, bool has_importance) {
    return type == TensorType::Q2_K || (type == TensorType::Q4_1 && !has_importance);
}

/// `columns` is empty or the importance of each column.
void weigh_by_magnitude(std::span<const float> row, std::span<const float> columns,
                        std::vector<float>& weights) {
    constexpr uint64_t kStretch = 256;
    for (uint64_t begin = 0; begin < row.size(); begin += kStretch) {
        const std::span<const float> stretch = row.subspan(begin, std::min(kStretch, row.size() - begin));
        double squares = 0;
        for (const float value : stretch) squares += double(value) * double(value);
        const double mean = squares / double(stretch.size());
        for (uint64_t i = 0; i < stretch.size(); ++i) {
            const double square = double(stretch[i]) * double(stretch[i]);
            const float magnitude = mean == 0 ? 1.0f : float(std::sqrt((mean + square) / (2 * mean)));
            weights[begin + i] = columns.empty() ? magnitude : magnitude * columns[begin + i];
        }
    }
}

}  // namespace

bool can_quantize(TensorType type) {
    return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16 ||
           fit::find_fit(type);
}

void quantize_rows(TensorType type, std::span<const float> source, std::span<std::byte> destination,
                   uint64_t row_elements, std::span<const float> importance) {
    if (source.empty()) return;
    if (row_elements == 0 || source.size() % row_elements != 0)
        fail("{} values are no whole number of rows of {}", source.size(), row_elements);
    const uint64_t n_rows = source.size() / row_elements;
    const uint64_t bytes_per_row = row_bytes(type, row_elements);
    if (destination.size() != n_rows * bytes_per_row)
        fail("{} rows of {} as {} take {} bytes; the destination has {}", n_rows, row_elements, name(type),
             n_rows * bytes_per_row, destination.size());
    if (!importance.empty() && importance.size() != row_elements)
        fail("importance of {} columns for rows of {}", importance.size(), row_elements);

    if (type == TensorType::F32) {
        std::memcpy(destination.data(), source.data(), source.size_bytes());
        return;
    }
    if (type == TensorType::F16) {
        check_half_range(source, row_elements);
        return plain::passes().to_f16(source.data(), source.size(), destination.data());
    }
    if (type == TensorType::BF16)
        return plain::passes().to_bf16(source.data(), source.size(), destination.data());

    const fit::Fit fit_blocks = fit::find_fit(type);
    if (!fit_blocks)
        fail("{} cannot be written yet; see `ingot convert --help` for the types that can", name(type));
    check_finite(source, row_elements, type);

    const std::vector<float> columns = normalized(importance);
    const bool by_magnitude = favours_large_values(type, !columns.empty());
    std::vector<float> weights = columns.empty() ? std::vector<float>(row_elements, 1.0f) : columns;
    const uint64_t n_blocks = row_elements / info(type).block_elements;
    std::vector<float> clamped;
    for (uint64_t r = 0; r < n_rows; ++r) {
        std::span<const float> row = source.subspan(r * row_elements, row_elements);
        if (largest_magnitude(row) > kLargestMagnitude) {
            clamped.assign(row.begin(), row.end());
            for (float& value : clamped) value = std::clamp(value, -kLargestMagnitude, kLargestMagnitude);
            row = clamped;
        }
        if (by_magnitude) weigh_by_magnitude(row, columns, weights);
        fit_blocks(row.data(), weights.data(), n_blocks, destination.data() + r * bytes_per_row);
    }
}

}  // namespace ingot::converters

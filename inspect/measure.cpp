#include "inspect/measure.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "format/decode.h"
#include "format/error.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPiece = 1 << 16;  // elements; whole blocks of every layout

struct Pair {
    const TensorInfo *a, *b;
};

void add_piece(std::span<const float> a, std::span<const float> b, ErrorSums& sums) {
    sums.n_elements += a.size();
    for (size_t i = 0; i < a.size(); ++i) {
        const double x = double(a[i]), y = double(b[i]);
        if (!std::isfinite(x) || !std::isfinite(y)) {
            ++sums.n_not_finite;
            continue;
        }
        const double error = y - x;
        sums.squares_a += x * x;
        sums.squares_b += y * y;
        sums.product += x * y;
        sums.squared_error += error * error;
        sums.max_error = std::max(sums.max_error, std::fabs(error));
    }
}

std::string shape_text(const TensorInfo& tensor) {
    return fmt::format(
        "{}", fmt::join(tensor.shape.begin(), tensor.shape.begin() + std::max(1u, tensor.n_dims), " × "));
}

/// Which tensors can be compared, and why the others cannot.
std::vector<Pair> pairs_of(const GgufModel& a, const GgufModel& b, std::vector<SkippedTensor>& skipped) {
    std::vector<Pair> pairs;
    const auto skip = [&](const TensorInfo& tensor, std::string reason) {
        skipped.push_back({std::string(tensor.name), std::move(reason)});
    };
    for (const TensorInfo& tensor : a.header().tensors()) {
        const TensorInfo* other = b.header().find_tensor(tensor.name);
        if (!other) {
            skip(tensor, "only in the first");
        } else if (std::string reason = why_not_comparable(tensor, *other); !reason.empty()) {
            skip(tensor, std::move(reason));
        } else {
            pairs.push_back({&tensor, other});
        }
    }
    for (const TensorInfo& tensor : b.header().tensors())
        if (!a.header().find_tensor(tensor.name)) skip(tensor, "only in the second");
    return pairs;
}

}  // namespace

void ErrorSums::add(const ErrorSums& other) {
    n_elements += other.n_elements;
    n_not_finite += other.n_not_finite;
    squares_a += other.squares_a;
    squares_b += other.squares_b;
    product += other.product;
    squared_error += other.squared_error;
    max_error = std::max(max_error, other.max_error);
}

double ErrorSums::rmse() const {
    const uint64_t n = n_elements - n_not_finite;
    return n == 0 ? 0 : std::sqrt(squared_error / double(n));
}

double ErrorSums::signal_to_noise() const {
    if (squared_error == 0) return std::numeric_limits<double>::infinity();
    return 10 * std::log10(squares_a / squared_error);
}

double ErrorSums::cosine() const {
    if (squares_a == 0 && squares_b == 0) return 1;
    if (squares_a == 0 || squares_b == 0) return 0;
    return product / (std::sqrt(squares_a) * std::sqrt(squares_b));
}

std::string why_not_comparable(const TensorInfo& a, const TensorInfo& b) {
    if (a.shape != b.shape) return fmt::format("{}, and {} in the second", shape_text(a), shape_text(b));
    for (const TensorInfo* tensor : {&a, &b})
        if (!info(tensor->type).decodable)
            return fmt::format("{} cannot be decoded by this version", name(tensor->type));
    return "";
}

ErrorSums measure_tensors(const GgufModel& model_a, const TensorInfo& a, const GgufModel& model_b,
                          const TensorInfo& b, const std::function<void(uint64_t elements)>& progress,
                          const std::atomic<bool>* stop) {
    ErrorSums sums;
    const std::byte *bytes_a = model_a.tensor_bytes(a).data(), *bytes_b = model_b.tensor_bytes(b).data();
    std::vector<float> x, y;
    for (uint64_t at = 0; at < a.n_elements; at += x.size()) {
        if (stop && stop->load(std::memory_order_relaxed)) break;
        const uint64_t n = std::min(kPiece, a.n_elements - at);
        x.resize(n);
        y.resize(n);
        decode_row(a.type, bytes_a + row_bytes(a.type, at), x.data(), n);
        decode_row(b.type, bytes_b + row_bytes(b.type, at), y.data(), n);
        add_piece(x, y, sums);
        if (progress) progress(n);
    }
    return sums;
}

Measurement measure(const GgufModel& a, const GgufModel& b, int n_threads,
                    const std::function<void(uint64_t elements)>& progress, const std::atomic<bool>* stop) {
    Measurement result;
    const std::vector<Pair> pairs = pairs_of(a, b, result.skipped);
    result.tensors.resize(pairs.size());

    // Each tensor is one thread's, from its beginning to its end: sums do not depend on their number.
    std::atomic<uint64_t> done = 0;
    const auto measure_one = [&](size_t index) {
        const auto [first, second] = pairs[index];
        MeasuredTensor& tensor = result.tensors[index];
        tensor.name = first->name;
        tensor.type_a = first->type;
        tensor.type_b = second->type;
        tensor.sums = measure_tensors(
            a, *first, b, *second,
            [&](uint64_t n) {
                done += n;
                if (progress) progress(done);
            },
            stop);
    };
    in_parallel(pairs.size(), n_threads, stop, measure_one);
    result.stopped = stop && stop->load();
    for (const MeasuredTensor& tensor : result.tensors) result.total.add(tensor.sums);
    return result;
}

}  // namespace ingot::inspect

#include "inspect/measure.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>

#include "format/decode.h"
#include "format/error.h"

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
        } else if (other->shape != tensor.shape) {
            skip(tensor, fmt::format("{}, and {} in the second", shape_text(tensor), shape_text(*other)));
        } else if (!info(tensor.type).decodable || !info(other->type).decodable) {
            const TensorType type = info(tensor.type).decodable ? other->type : tensor.type;
            skip(tensor, fmt::format("{} cannot be decoded by this version", name(type)));
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

Measurement measure(const GgufModel& a, const GgufModel& b, int n_threads,
                    const std::function<void(uint64_t elements)>& progress, const std::atomic<bool>* stop) {
    Measurement result;
    const std::vector<Pair> pairs = pairs_of(a, b, result.skipped);
    result.tensors.resize(pairs.size());

    // Each tensor is one thread's, from its beginning to its end: sums do not depend on their number.
    std::atomic<size_t> next = 0;
    std::atomic<uint64_t> done = 0;
    std::mutex mutex;  // guards failure
    std::exception_ptr failure;
    const auto stopped = [&] { return stop && stop->load(std::memory_order_relaxed); };
    const auto measure_one = [&](size_t index) {
        const auto [first, second] = pairs[index];
        MeasuredTensor& tensor = result.tensors[index];
        tensor.name = first->name;
        tensor.type_a = first->type;
        tensor.type_b = second->type;
        std::vector<float> x, y;
        for (uint64_t at = 0; at < first->n_elements && !stopped(); at += x.size()) {
            const uint64_t n = std::min(kPiece, first->n_elements - at);
            x.resize(n);
            y.resize(n);
            decode_row(first->type, a.tensor_bytes(*first).data() + row_bytes(first->type, at), x.data(), n);
            decode_row(second->type, b.tensor_bytes(*second).data() + row_bytes(second->type, at), y.data(),
                       n);
            add_piece(x, y, tensor.sums);
            done += n;
            if (progress) progress(done);
        }
    };
    const auto work = [&] {
        try {
            for (size_t i = next++; i < pairs.size() && !stopped(); i = next++) measure_one(i);
        } catch (...) {
            const std::lock_guard lock(mutex);
            if (!failure) failure = std::current_exception();
            next = pairs.size();
        }
    };
    if (n_threads <= 0) n_threads = int(std::max(1u, std::thread::hardware_concurrency()));
    {
        std::vector<std::jthread> helpers;
        for (size_t i = 1; i < std::min(size_t(n_threads), pairs.size()); ++i) helpers.emplace_back(work);
        work();
    }  // joined here
    if (failure) std::rethrow_exception(failure);
    result.stopped = stopped();
    for (const MeasuredTensor& tensor : result.tensors) result.total.add(tensor.sums);
    return result;
}

}  // namespace ingot::inspect

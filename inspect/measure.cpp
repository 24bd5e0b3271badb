#include "inspect/measure.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "format/decode.h"
#include "format/error.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPiece = 1 << 12;  // elements; whole blocks of every layout, and both sides fit the cache
constexpr uint64_t kProgress = 1 << 18;  // elements between two calls of `progress`

struct Pair {
    const TensorInfo *a, *b;
};

// --- Sums --------------------------------------------------------------------------------------------------
//
// Eight doubles side by side, lowered to what the instruction set has; always the same sums in the same
// order, so that every machine gives the same bits.

typedef float FloatLanes __attribute__((vector_size(32)));
typedef double Lanes __attribute__((vector_size(64)));
typedef int64_t IntLanes __attribute__((vector_size(64)));
constexpr size_t kLanes = 8;
constexpr size_t kChunk = 1024;  // elements; where one is not finite, each of them is looked at

double sum_of(const Lanes& lanes) {
    return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

/// Of a multiple of kLanes.
[[gnu::always_inline]] inline void add_lanes(const float* a, const float* b, size_t n, ErrorSums& sums) {
    Lanes squares_a{}, squares_b{}, product{}, squared_error{}, max_error{};
    for (size_t i = 0; i < n; i += kLanes) {
        FloatLanes a_floats, b_floats;
        __builtin_memcpy(&a_floats, a + i, sizeof a_floats);
        __builtin_memcpy(&b_floats, b + i, sizeof b_floats);
        const Lanes x = __builtin_convertvector(a_floats, Lanes),
                    y = __builtin_convertvector(b_floats, Lanes);
        const Lanes error = y - x;
        squares_a += x * x;
        squares_b += y * y;
        product += x * y;
        squared_error += error * error;
        const Lanes size = Lanes(IntLanes(error) & INT64_MAX);
        max_error = size > max_error ? size : max_error;
    }
    sums.squares_a += sum_of(squares_a);
    sums.squares_b += sum_of(squares_b);
    sums.product += sum_of(product);
    sums.squared_error += sum_of(squared_error);
    for (size_t i = 0; i < kLanes; ++i) sums.max_error = std::max(sums.max_error, max_error[i]);
}

using AddAll = void (*)(const float* a, const float* b, size_t n, ErrorSums& sums);

void add_all_baseline(const float* a, const float* b, size_t n, ErrorSums& sums) {
    add_lanes(a, b, n, sums);
}
#if defined(__x86_64__)
[[gnu::target("avx2")]] void add_all_avx2(const float* a, const float* b, size_t n, ErrorSums& sums) {
    add_lanes(a, b, n, sums);
}
[[gnu::target("avx512f,avx512dq,avx512vl")]] void add_all_avx512(const float* a, const float* b, size_t n,
                                                                 ErrorSums& sums) {
    add_lanes(a, b, n, sums);
}
AddAll best_add_all() {
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return add_all_avx512;
    return __builtin_cpu_supports("avx2") ? add_all_avx2 : add_all_baseline;
}
#else
AddAll best_add_all() {
    return add_all_baseline;
}
#endif

void add_one(float a, float b, ErrorSums& sums) {
    const double x = double(a), y = double(b);
    if (!std::isfinite(x) || !std::isfinite(y)) {
        ++sums.n_not_finite;
        return;
    }
    const double error = y - x;
    sums.squares_a += x * x;
    sums.squares_b += y * y;
    sums.product += x * y;
    sums.squared_error += error * error;
    sums.max_error = std::max(sums.max_error, std::fabs(error));
}

void add_piece(std::span<const float> a, std::span<const float> b, ErrorSums& sums) {
    static const AddAll add_all = best_add_all();
    for (size_t at = 0; at < a.size(); at += kChunk) {
        const size_t n = std::min(kChunk, a.size() - at), n_lanes = n / kLanes * kLanes;
        const float *x = a.data() + at, *y = b.data() + at;
        ErrorSums some;
        add_all(x, y, n_lanes, some);
        // Squares of floats are far from the end of the doubles: what is not finite was not.
        const bool all_finite = std::isfinite(some.squares_a) && std::isfinite(some.squares_b);
        if (!all_finite) some = {};
        for (size_t i = all_finite ? n_lanes : 0; i < n; ++i) add_one(x[i], y[i], some);
        some.n_elements = n;
        sums.add(some);
    }
}

// --- Tensors -----------------------------------------------------------------------------------------------

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
    std::array<float, kPiece> x, y;
    uint64_t n_told = 0;
    for (uint64_t at = 0; at < a.n_elements; at += kPiece) {
        if (stop && stop->load(std::memory_order_relaxed)) break;
        const uint64_t n = std::min(kPiece, a.n_elements - at);
        decode_row(a.type, bytes_a + row_bytes(a.type, at), x.data(), n);
        decode_row(b.type, bytes_b + row_bytes(b.type, at), y.data(), n);
        add_piece(std::span(x).first(n), std::span(y).first(n), sums);
        if (progress && (sums.n_elements - n_told >= kProgress || sums.n_elements == a.n_elements)) {
            progress(sums.n_elements - n_told);
            n_told = sums.n_elements;
        }
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

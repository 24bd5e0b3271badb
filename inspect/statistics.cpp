#include "inspect/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string_view>

#include "format/decode.h"
#include "format/error.h"
#include "format/output_file.h"
#include "inspect/parallel.h"

namespace ingot::inspect {

namespace {

constexpr uint64_t kPiece = 1 << 16;  // elements; whole blocks of every layout

void require_decodable(const TensorInfo& tensor) {
    if (info(tensor.type).decodable) return;
    fail("tensor {}: {} cannot be decoded by this version", printable(tensor.name), name(tensor.type));
}

/// Calls `work(piece, values)` for every kPiece elements, on several threads.
template <typename Work>
void for_each_piece(const GgufModel& model, const TensorInfo& tensor, int n_threads, const Work& work) {
    require_decodable(tensor);
    const std::byte* bytes = model.tensor_bytes(tensor).data();
    const uint64_t n_pieces = (tensor.n_elements + kPiece - 1) / kPiece;
    in_parallel(n_pieces, n_threads, nullptr, [&](size_t piece) {
        thread_local std::vector<float> decoded;
        const uint64_t first = piece * kPiece;
        decoded.resize(std::min(kPiece, tensor.n_elements - first));
        decode_row(tensor.type, bytes + row_bytes(tensor.type, first), decoded.data(), decoded.size());
        work(piece, std::span<const float>(decoded));
    });
}

struct Sums {
    uint64_t n_nan = 0, n_infinite = 0, n_zero = 0;
    double min = std::numeric_limits<double>::infinity(), max = -min;
    double sum = 0, squares = 0, magnitudes = 0;

    void add(float value) {
        if (std::isnan(value)) {
            ++n_nan;
        } else if (std::isinf(value)) {
            ++n_infinite;
        } else {
            const double x = double(value);
            n_zero += x == 0;
            min = std::min(min, x);
            max = std::max(max, x);
            sum += x;
            squares += x * x;
            magnitudes += std::fabs(x);
        }
    }
};

}  // namespace

Statistics statistics(const GgufModel& model, const TensorInfo& tensor, int n_threads) {
    std::vector<Sums> pieces((tensor.n_elements + kPiece - 1) / kPiece);
    for_each_piece(model, tensor, n_threads, [&](size_t piece, std::span<const float> values) {
        Sums sums;
        for (const float value : values) sums.add(value);
        pieces[piece] = sums;
    });
    Sums all;
    for (const Sums& piece : pieces) {
        all.n_nan += piece.n_nan;
        all.n_infinite += piece.n_infinite;
        all.n_zero += piece.n_zero;
        all.min = std::min(all.min, piece.min);
        all.max = std::max(all.max, piece.max);
        all.sum += piece.sum;
        all.squares += piece.squares;
        all.magnitudes += piece.magnitudes;
    }
    Statistics result{.n_elements = tensor.n_elements,
                      .n_nan = all.n_nan,
                      .n_infinite = all.n_infinite,
                      .n_zero = all.n_zero};
    const uint64_t n = result.n_finite();
    if (n == 0) return result;
    result.min = all.min;
    result.max = all.max;
    result.mean = all.sum / double(n);
    result.root_mean_square = std::sqrt(all.squares / double(n));
    result.mean_magnitude = all.magnitudes / double(n);
    // Σ (x - mean)² in a pass of its own: Σ x² - n mean² loses all digits where the mean is large.
    std::vector<double> distances(pieces.size());
    for_each_piece(model, tensor, n_threads, [&](size_t piece, std::span<const float> values) {
        double sum = 0;
        for (const float value : values) {
            if (!std::isfinite(value)) continue;
            const double distance = double(value) - result.mean;
            sum += distance * distance;
        }
        distances[piece] = sum;
    });
    double squares = 0;
    for (const double piece : distances) squares += piece;
    result.deviation = std::sqrt(squares / double(n));
    return result;
}

Histogram histogram(const GgufModel& model, const TensorInfo& tensor, const Statistics& statistics,
                    size_t n_bins, int n_threads) {
    Histogram result;
    result.bins.resize(n_bins);
    if (n_bins == 0 || statistics.n_finite() == 0) return result;
    constexpr double kDeviations = 4;
    result.low = std::max(statistics.min, statistics.mean - kDeviations * statistics.deviation);
    const double high = std::min(statistics.max, statistics.mean + kDeviations * statistics.deviation);
    result.width = std::max(0.0, high - result.low) / double(n_bins);
    std::mutex mutex;  // guards result: counts are exact in any order
    for_each_piece(model, tensor, n_threads, [&](size_t, std::span<const float> values) {
        std::vector<uint64_t> bins(n_bins);
        uint64_t n_below = 0, n_above = 0;
        for (const float value : values) {
            const double x = double(value);
            if (!std::isfinite(value)) continue;
            if (x < result.low) {
                ++n_below;
            } else if (x > high) {
                ++n_above;
            } else {
                const double bin = result.width > 0 ? (x - result.low) / result.width : 0;
                ++bins[std::min(size_t(bin), n_bins - 1)];
            }
        }
        const std::lock_guard lock(mutex);
        for (size_t i = 0; i < n_bins; ++i) result.bins[i] += bins[i];
        result.n_below += n_below;
        result.n_above += n_above;
    });
    return result;
}

std::vector<float> values(const GgufModel& model, const TensorInfo& tensor, uint64_t first, uint64_t n) {
    require_decodable(tensor);
    if (first > tensor.n_elements || n > tensor.n_elements - first) {
        fail("tensor {}: {} elements from element {} on, but it has {}", printable(tensor.name), grouped(n),
             grouped(first), grouped(tensor.n_elements));
    }
    // Whole blocks, of which some elements are not wanted.
    const uint64_t block = info(tensor.type).block_elements;
    const uint64_t begin = first / block * block, end = (first + n + block - 1) / block * block;
    std::vector<float> decoded(end - begin);
    if (!decoded.empty()) {
        decode_row(tensor.type, model.tensor_bytes(tensor).data() + row_bytes(tensor.type, begin),
                   decoded.data(), decoded.size());
    }
    decoded.erase(decoded.begin(), decoded.begin() + long(first - begin));
    decoded.resize(n);
    return decoded;
}

namespace {

/// NumPy's name of a type that it has byte for byte; empty for the others, which are decoded.
std::string_view numpy_type(TensorType type) {
    switch (type) {
        case TensorType::F32:
            return "<f4";
        case TensorType::F16:
            return "<f2";
        case TensorType::F64:
            return "<f8";
        case TensorType::I8:
            return "|i1";
        case TensorType::I16:
            return "<i2";
        case TensorType::I32:
            return "<i4";
        case TensorType::I64:
            return "<i8";
        default:
            return "";
    }
}

/// Magic, version 1.0, length, then a Python literal, padded with spaces so that the data starts at a
/// multiple of 64 (numpy/lib/format.py describes it).
std::string npy_header(const TensorInfo& tensor, std::string_view type) {
    std::string shape;
    for (uint32_t i = tensor.n_dims; i-- > 0;) shape += fmt::format("{},{}", tensor.shape[i], i ? " " : "");
    std::string text = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", type, shape);
    constexpr size_t kPrefixBytes = 10, kDataAlignment = 64;
    while ((kPrefixBytes + text.size() + 1) % kDataAlignment != 0) text += ' ';
    text += '\n';
    std::string header("\x93NUMPY\x01\x00", 8);
    header += char(text.size() & 0xff);
    header += char(text.size() >> 8);
    return header + text;
}

}  // namespace

void write_npy(const GgufModel& model, const TensorInfo& tensor, const std::string& path, bool overwrite) {
    const std::string_view same = numpy_type(tensor.type);
    if (same.empty()) require_decodable(tensor);
    const std::string header = npy_header(tensor, same.empty() ? "<f4" : same);
    uint64_t size_bytes = tensor.size_bytes;
    if (same.empty() && __builtin_mul_overflow(tensor.n_elements, sizeof(float), &size_bytes))
        fail("tensor {}: {} decoded elements exceed 2^64 bytes", printable(tensor.name),
             grouped(tensor.n_elements));
    if (__builtin_add_overflow(size_bytes, header.size(), &size_bytes))
        fail("tensor {}: the file would exceed 2^64 bytes", printable(tensor.name));
    OutputFile file(path, size_bytes, overwrite);
    file.write_at(0, std::as_bytes(std::span(header)));
    if (!same.empty()) {
        file.write_at(header.size(), model.tensor_bytes(tensor));
    } else {
        for_each_piece(model, tensor, 1, [&](size_t piece, std::span<const float> decoded) {
            file.write_at(header.size() + piece * kPiece * sizeof(float), std::as_bytes(decoded));
        });
    }
    file.commit();
}

}  // namespace ingot::inspect

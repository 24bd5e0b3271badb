#pragma once
// What the values of one tensor look like.
#include <cstdint>
#include <string>
#include <vector>

#include "format/gguf_model.h"

namespace ingot::inspect {

/// Of the decoded values. Those that are NaN or infinite are only counted. The figures do not depend on the
/// number of threads: sums are taken piece by piece.
struct Statistics {
    uint64_t n_elements = 0;
    uint64_t n_nan = 0, n_infinite = 0, n_zero = 0;
    double min = 0, max = 0;  // 0 when no value is finite
    double mean = 0;
    double deviation = 0;  // standard deviation: √(Σ (x - mean)² / n)
    double root_mean_square = 0;
    double mean_magnitude = 0;  // Σ |x| / n

    uint64_t n_finite() const { return n_elements - n_nan - n_infinite; }
};

/// How many values lie in each of equally wide intervals: bin i is [low + i·width, low + (i + 1)·width), and
/// the last one holds its upper end too.
struct Histogram {
    double low = 0, width = 0;
    std::vector<uint64_t> bins;
    uint64_t n_below = 0, n_above = 0;  // outside of all bins
};

/// Reads the whole tensor. Throws Error naming the tensor when its type cannot be decoded.
Statistics statistics(const GgufModel& model, const TensorInfo& tensor, int n_threads = 0);

/// `n_bins` from four standard deviations below the mean to four above, or from the least value to the
/// largest where these are nearer. Reads the whole tensor again.
Histogram histogram(const GgufModel& model, const TensorInfo& tensor, const Statistics& statistics,
                    size_t n_bins, int n_threads = 0);

/// `n` values from element `first` on. Throws Error when the tensor has fewer, or cannot be decoded.
std::vector<float> values(const GgufModel& model, const TensorInfo& tensor, uint64_t first, uint64_t n);

/// Writes the tensor as a NumPy file (format 1.0, C order, so that shape[0] is the last axis), whole or not
/// at all: types that NumPy has byte for byte, all others decoded to float32. Memory: some MiB.
void write_npy(const GgufModel& model, const TensorInfo& tensor, const std::string& path, bool overwrite);

}  // namespace ingot::inspect

#pragma once
// How far the tensors of one file are from those of another: what a quantization cost.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "format/gguf_model.h"

namespace ingot::inspect {

/// The sums that the measures follow from. Elements that are NaN or infinite in either file are only counted.
struct ErrorSums {
    uint64_t n_elements = 0, n_not_finite = 0;
    double squares_a = 0, squares_b = 0, product = 0;  // Σ a², Σ b², Σ a b
    double squared_error = 0;                          // Σ (b - a)²
    double max_error = 0;                              // largest |b - a|

    void add(const ErrorSums& other);
    double rmse() const;             // √(Σ (b - a)² / n)
    double signal_to_noise() const;  // dB: 10 log10(Σ a² / Σ (b - a)²); infinity where nothing differs
    double cosine() const;           // Σ a b / √(Σ a² Σ b²); 1 where both are zero
    bool exact() const { return squared_error == 0 && n_not_finite == 0; }
};

struct MeasuredTensor {
    std::string name;
    TensorType type_a{}, type_b{};
    ErrorSums sums;
};

/// A tensor that could not be compared.
struct SkippedTensor {
    std::string name, reason;
};

struct Measurement {
    std::vector<MeasuredTensor> tensors;  // those in both files, in A's order
    std::vector<SkippedTensor> skipped;
    ErrorSums total;
    bool stopped = false;  // `stop` was raised before the end
};

/// Why two tensors of one name cannot be compared; empty when they can be.
std::string why_not_comparable(const TensorInfo& a, const TensorInfo& b);

/// Decodes two comparable tensors piece by piece. `progress`, where given, receives the elements of each
/// piece. Once `stop` is raised the rest is left out.
ErrorSums measure_tensors(const GgufModel& model_a, const TensorInfo& a, const GgufModel& model_b,
                          const TensorInfo& b, const std::function<void(uint64_t elements)>& progress = {},
                          const std::atomic<bool>* stop = nullptr);

/// Compares the tensors of the same name on `n_threads` threads (0: all that the machine has); the results do
/// not depend on them. `progress`, where given, receives the elements done so far, from several threads.
/// Memory: some MiB a thread.
Measurement measure(const GgufModel& a, const GgufModel& b, int n_threads = 0,
                    const std::function<void(uint64_t elements)>& progress = {},
                    const std::atomic<bool>* stop = nullptr);

}  // namespace ingot::inspect

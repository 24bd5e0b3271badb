#pragma once
// After a conversion: what was written, decoded again and compared with the source.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "converters/plan.h"

namespace ingot::converters {

/// How far one tensor of the file is from the values it was made of.
struct TensorError {
    std::string name;  // in the file
    TensorType type{};
    std::string source_encoding;
    uint64_t n_elements = 0;
    double rmse = 0;           // root of the mean squared error
    double relative_rmse = 0;  // divided by the root mean square of the source; 0 when both are zero
    double max_error = 0;
    uint64_t n_not_finite = 0;       // NaN or infinity in what was written
    uint64_t n_beyond_rounding = 0;  // F32, F16, BF16: elements farther off than rounding explains
    bool source_is_zero = false;     // all of it
    bool written_is_zero = false;

    /// Not what this type can do to these values: the file or the program is damaged.
    bool failed() const;
};

struct VerificationReport {
    std::vector<TensorError> tensors;  // in the order of the file
    double seconds = 0;

    bool ok() const;
    uint64_t n_failed() const;
};

struct VerificationOptions {
    int n_threads = 0;
    const std::atomic<bool>* cancel = nullptr;  // when it becomes true, verify_conversion() throws Cancelled
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress = {};  // bytes of the source
};

/// Reads the files that convert() made of this plan, and its sources, through the same steps. Every element
/// is compared; nothing is kept but sums. Throws Error when a file is not the plan's.
VerificationReport verify_conversion(const ConversionPlan& plan, const std::vector<std::string>& outputs,
                                     const VerificationOptions& options);

}  // namespace ingot::converters

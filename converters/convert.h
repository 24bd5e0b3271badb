#pragma once
// Carries out a plan: read -> float -> quantize -> write, tile by tile.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "converters/plan.h"
#include "format/error.h"

namespace ingot::converters {

struct ConvertOptions {
    std::string output;
    bool overwrite = false;
    int n_threads = 0;                          // 0: as many as this process may use
    const std::atomic<bool>* cancel = nullptr;  // polled; when it becomes true, convert() throws Cancelled
    /// Called now and then, never from two threads at once. Bytes of the source.
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress;
};

/// Thrown when `cancel` asked for it. Nothing was written.
class Cancelled : public Error {
  public:
    using Error::Error;
};

struct TypeTotal {
    TensorType type{};
    uint64_t n_tensors = 0;
    uint64_t n_elements = 0;
    uint64_t size_bytes = 0;
};

struct ConversionResult {
    std::string output;
    uint64_t source_bytes = 0;  // of the tensors
    uint64_t output_bytes = 0;  // of the file
    double seconds = 0;
    int n_threads = 0;
};

/// Bytes by tensor type, largest first.
std::vector<TypeTotal> totals_by_type(const ConversionPlan& plan);

/// Writes the file that the plan describes. It appears under its name only when it is whole; on any failure
/// the destination is as it was. The bytes do not depend on the number of threads. Memory: some MiB per
/// thread, whatever the model's size.
ConversionResult convert(ConversionPlan& plan, const ConvertOptions& options);

}  // namespace ingot::converters

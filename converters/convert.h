#pragma once
// Carries out a plan: read -> float -> quantize -> write, tile by tile.
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "converters/plan.h"
#include "converters/quantize/feedback/layer_quantizer.h"
#include "format/error.h"

namespace ingot::converters {

struct ConvertOptions {
    std::string output;
    bool overwrite = false;
    int n_threads = 0;                          // 0: as many as this process may use
    const std::atomic<bool>* cancel = nullptr;  // polled; when it becomes true, convert() throws Cancelled
    /// Called now and then, never from two threads at once. Bytes of the source.
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress = {};
    /// Error feedback: called before all else, runs the model on a text and shows the quantizer what its
    /// matrices are multiplied by. What it does not come to is fitted as without it. A conversion with
    /// feedback does not go on where a killed one stopped.
    std::function<void(LayerQuantizer&)> feed = {};
};

struct TypeTotal {
    TensorType type{};
    uint64_t n_tensors = 0;
    uint64_t n_elements = 0;
    uint64_t size_bytes = 0;
};

struct ConversionResult {
    std::vector<std::string> outputs;  // one, or all shards
    uint64_t source_bytes = 0;         // of the tensors
    uint64_t output_bytes = 0;         // of all files
    double seconds = 0;
    int n_threads = 0;
    size_t n_fed = 0;                      // tensors quantized with error feedback
    std::vector<std::string> by_diagonal;  // of these: whose second moments were too many
    size_t n_resumed = 0;                  // tensors that an earlier run, which was killed, had written
};

/// Bytes by tensor type, largest first.
std::vector<TypeTotal> totals_by_type(const ConversionPlan& plan);

/// Writes the files that the plan describes. They appear under their names only when they are whole; on any
/// failure what was there is as it was. A process that was killed half-way leaves `<output>.ingot-partial`,
/// and the same conversion goes on with it: every tensor in it is checked, the rest is written. The bytes
/// depend neither on that nor on the number of threads. Memory: some MiB per thread, whatever the model's
/// size. Throws Error when the plan has problems.
ConversionResult convert(const ConversionPlan& plan, const ConvertOptions& options);

}  // namespace ingot::converters

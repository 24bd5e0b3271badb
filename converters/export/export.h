#pragma once
// The way back: a GGUF file -> a Hugging Face checkpoint.
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "converters/export/safetensors_writer.h"
#include "converters/export/weights.h"
#include "converters/findings.h"
#include "converters/sources/checkpoint.h"

namespace ingot::converters {

struct ExportRequest {
    std::string source;  // a GGUF file
    std::string folder;
    std::string config_file;  // config.json to use instead of the one that the file holds; or empty
    std::optional<TensorType>
        type;  // F32, F16 or BF16; if not given, what most weights have, BF16 for blocks
    uint64_t max_file_bytes = 5'000'000'000;
    bool overwrite = false;
};

/// What an export will write. Usable when `findings` has no problem.
struct ExportPlan {
    ExportRequest request;
    Findings findings;
    std::unique_ptr<GgufCheckpoint> checkpoint;  // owns what `tensors` read from
    std::string family;
    TensorType type{};
    std::vector<ExportedTensor> tensors;
    SafetensorsLayout layout;                                // of these tensors, in this order
    std::vector<std::pair<std::string, std::string>> files;  // the small ones: name, content
    uint64_t source_bytes = 0;

    uint64_t output_bytes() const;
};

ExportPlan plan_export(const ExportRequest& request);

struct ExportOptions {
    int n_threads = 0;
    const std::atomic<bool>* cancel = nullptr;  // when it becomes true, export_checkpoint() throws Cancelled
    std::function<void(uint64_t done_bytes, uint64_t total_bytes)> progress = {};  // bytes of the source
};

struct ExportResult {
    double seconds = 0;
    int n_threads = 0;
};

/// Writes the checkpoint: the weights first, config.json last, so that a folder that has one is whole. Each
/// file appears when it is complete. Memory: some MiB per thread. Throws Error when the plan has problems.
ExportResult export_checkpoint(const ExportPlan& plan, const ExportOptions& options);

}  // namespace ingot::converters

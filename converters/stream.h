#pragma once
// The pipeline that turns rows into the bytes of a file: read -> float -> encode -> write, tile by tile.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "converters/rows/tensor_rows.h"
#include "format/error.h"
#include "format/imatrix.h"

namespace ingot::converters {

/// One tensor to be written.
struct StreamJob {
    size_t tensor = 0;  // the sink's name for it
    const TensorRows* rows = nullptr;
    TensorType type{};                            // it is written as
    const ImportanceEntry* importance = nullptr;  // of its columns; or null
};

/// Takes what the pipeline makes.
class StreamSink {
  public:
    virtual ~StreamSink() = default;
    /// Bytes of a tensor, from `offset` within it on. Called from several threads at once.
    virtual void write(size_t tensor, uint64_t offset, std::span<const std::byte> bytes) = 0;
    /// All of it was written. Not called from two threads at once.
    virtual void finish(size_t tensor, const std::string& checksum) = 0;
};

/// Thrown when `cancel` asked for it. What was written so far stays for the next run, if it is worth it.
class Cancelled : public Error {
  public:
    using Error::Error;
};

struct StreamOptions {
    std::string source;  // begins error messages
    int n_threads = 1;
    const std::atomic<bool>* cancel = nullptr;  // when it becomes true, stream_rows() throws Cancelled
    std::function<void(uint64_t done_bytes)>
        progress;  // of the source. Never called from two threads at once
};

/// Writes every tensor, in the order in which the sources are read best. Checksums are those of checksum.h.
/// Throws Error naming tensor, row and column on the first NaN or infinity. Memory: threads × tile.
void stream_rows(const std::vector<StreamJob>& jobs, StreamSink& sink, const StreamOptions& options);

}  // namespace ingot::converters

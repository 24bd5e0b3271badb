#pragma once
// Where a model's bytes are while it runs, and how they get there.
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "format/gguf_model.h"
#include "runtime/system_memory.h"

namespace ingot::runtime {

enum class LoadMode : uint8_t {
    Map,     // the mapped file: nothing is copied, other programs share it; read as it is touched, and ahead
    Read,    // memory of its own in large pages, filled through the system's cache
    Direct,  // the same, past the cache
    Header,  // nowhere: nothing but the header is read, vectors hold ones; for back ends that only count
};

struct LoadOptions {
    LoadMode mode = LoadMode::Map;
    bool lock = false;  // keep all of it in memory
    int n_readers = 4;  // threads that read the file
};

/// The bytes of a model's files. They are read in the file's order by threads of their own; what is there can
/// be used while the rest is on its way. Thread-safe.
class WeightMemory {
  public:
    /// `model` must outlive it. Throws Error when the memory cannot be had or locked.
    WeightMemory(const GgufModel& model, const LoadOptions& options);
    ~WeightMemory();
    WeightMemory(const WeightMemory&) = delete;
    WeightMemory& operator=(const WeightMemory&) = delete;

    /// Whether there will be any bytes to look at.
    bool has_bytes() const { return mode_ != LoadMode::Header; }
    /// Where the tensor's bytes are, or will be. O(1).
    std::span<const std::byte> bytes_of(const TensorInfo& tensor) const;
    /// Returns when they are there. Throws Error, with the path, when they could not be read.
    void wait_for(const TensorInfo& tensor) const;
    /// O(1) when everything is there.
    bool is_complete() const { return n_missing_.load(std::memory_order_acquire) == 0; }

  private:
    struct File;
    void start(int n_readers, void (WeightMemory::*work)());
    void read_ahead();
    void read_pieces();

    const GgufModel& model_;
    LoadMode mode_;
    std::vector<std::unique_ptr<File>> files_;
    std::atomic<size_t> n_missing_{0};  // pieces of all files
    std::atomic<size_t> next_{0};       // piece that nobody reads yet, counted through the files
    mutable std::mutex mutex_;          // of what follows, and of the files' lists of pieces
    mutable std::condition_variable arrived_;
    std::exception_ptr error_;
    std::atomic<bool> stop_{false};
    std::vector<std::thread> readers_;
};

}  // namespace ingot::runtime

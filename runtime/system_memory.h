#pragma once
// What the operating system has to do for a model's bytes: large memory, reading past its cache, keeping
// memory from being swapped out. The only place that knows how; system_memory.cpp is for POSIX.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace ingot::runtime {

/// Memory in large pages where the system has them, and spread over the machine's nodes; zero at first.
/// Movable, not copyable.
class LargeMemory {
  public:
    /// What a large page has, mostly: less than this is not worth the while.
    static constexpr size_t kPageBytes = size_t(2) << 20;

    LargeMemory() = default;
    /// Throws std::bad_alloc.
    explicit LargeMemory(size_t size_bytes);
    ~LargeMemory();
    LargeMemory(LargeMemory&& other) noexcept;
    LargeMemory& operator=(LargeMemory&& other) noexcept;

    std::span<std::byte> bytes() const { return {data_, size_bytes_}; }

  private:
    std::byte* data_ = nullptr;
    size_t size_bytes_ = 0;
};

/// A file that is read in large pieces, from several threads at once if they like.
class BulkFile {
  public:
    /// Offsets, sizes and addresses of direct reads are multiples of this.
    static constexpr size_t kAlignment = 4096;

    /// `direct`: past the system's cache, where the file system can; else through it.
    BulkFile(const std::filesystem::path& path, bool direct);
    ~BulkFile();
    BulkFile(const BulkFile&) = delete;
    BulkFile& operator=(const BulkFile&) = delete;

    bool is_direct() const { return is_direct_; }
    /// The bytes from `offset` on; `room` may be longer than what is left of the file, by less than
    /// kAlignment. Throws Error, with the path, when `n_bytes` are not there.
    void read_at(uint64_t offset, std::span<std::byte> room, size_t n_bytes) const;

  private:
    std::filesystem::path path_;
    int descriptor_ = -1;
    bool is_direct_ = false;
};

/// Deals pages that nobody has touched yet to the nodes of a NUMA machine in turn, as many as this process
/// may use: threads on all of them read, and a node's memory alone would be too slow for all. Does nothing
/// with fewer than `least_nodes`, or where the system does not allow it. Returns whether it did it.
bool spread_over_nodes(std::span<std::byte> bytes, int least_nodes = 2);

/// Keeps the bytes in memory until they are unmapped, and brings them there. Throws Error that says what is
/// allowed when it is too much.
void lock_memory(std::span<const std::byte> bytes);

}  // namespace ingot::runtime

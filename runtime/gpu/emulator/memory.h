#pragma once
// The emulator's memory: every access of a kernel is checked against its allocation, and against what the
// other threads of the launch have touched.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/gpu/device.h"

namespace ingot::runtime::gpu::emulator {

/// Who is running: needed to tell who raced with whom. An interval is the time between two barriers of a
/// group; intervals are numbered through all groups of all launches.
struct Now {
    const char* kernel = "";
    uint32_t x = 0, y = 0, z = 0;  // the group
    uint32_t thread = 0;
    bool has_waited = true;  // for the launch before: until then, only what no kernel writes is defined
    uint64_t interval = 1;
    uint64_t group_begin = 1;   // its first interval
    uint64_t launch_begin = 1;  // that of the launch's first group

    /// "kernel norm, group (0, 1, 0), thread 5"
    std::string place() const;
};

/// The last accesses to a few bytes. Nothing is ever cleared: intervals before the launch do not count.
struct Touch {
    static constexpr uint32_t kMany = ~0u;

    uint64_t written = 0, read = 0;   // intervals
    uint64_t read_elsewhere = 0;      // by a group before the last reading one
    uint32_t writer = 0, reader = 0;  // threads; readers may be kMany

    /// Throw Error when somebody may do something with the same bytes at the same time. `since` is the first
    /// interval that counts: nothing orders the groups of a launch.
    void note_read(const Now& now, uint64_t since, const char* what);
    void note_write(const Now& now, uint64_t since, const char* what);
};

/// Allocations by number: an address is a number and an offset in bytes, so that pointers can be computed
/// with and a stray one is noticed. Not thread-safe.
class Memory {
  public:
    static constexpr int kOffsetBits = 40;

    explicit Memory(uint64_t capacity_bytes) : capacity_(capacity_bytes) {}

    Address allocate(size_t size_bytes, Access access);
    void free(Address address);
    uint64_t used_bytes() const { return used_; }
    uint64_t capacity_bytes() const { return capacity_; }
    size_t n_allocations() const;

    /// From outside of kernels. Throws Error when the bytes are not inside of one allocation.
    std::byte* host(Address address, size_t size_bytes);

    /// From kernels: the bytes of one access, which must be aligned to its size.
    const std::byte* read(Address address, size_t size_bytes, const Now& now);
    std::byte* write(Address address, size_t size_bytes, const Now& now);
    bool is_read_only(Address address, const Now& now);

  private:
    struct Allocation {
        std::unique_ptr<std::byte[]> bytes;
        size_t size = 0;
        Access access = Access::Read;
        size_t granule = 4;  // bytes that a touch stands for
        std::vector<Touch> touches;
    };
    Allocation& find(Address address, size_t size_bytes, const Now& now, const char* what);
    template <typename Note>
    void note(Allocation& allocation, size_t offset, size_t size_bytes, Note note);

    uint64_t capacity_;  // bytes
    uint64_t used_ = 0;
    std::vector<Allocation> allocations_;  // number 0 is never used; freed ones are not used again
};

/// The memory that a group shares. A group finds it undefined. Copies and products that are under way have
/// their bytes for themselves; products see what was written only behind a fence between the two ways to
/// memory.
class GroupMemory {
  public:
    static constexpr size_t kBytes = 32 << 10;       // what Apple's processors have
    static constexpr size_t kMostBytes = 227 << 10;  // what kernels for NVIDIA's Hopper may ask for
    static constexpr size_t kChunk = 16;             // bytes of a copy, and that a product reads in one piece

    GroupMemory();
    std::byte* bytes() { return memory_.front().bytes; }
    size_t offset_of(const void* at) { return size_t(static_cast<const std::byte*>(at) - bytes()); }
    void note_read(const void* at, size_t size_bytes, const Now& now);
    void note_write(const void* at, size_t size_bytes, const Now& now);

    /// A chunk will be written by a copy of the running thread; is written by it.
    void begin_copy(const void* at, const Now& now);
    void end_copy(const void* at, const Now& now);
    /// What the running thread wrote, products may read behind the next barrier.
    void fence_proxy(const Now& now) { ++n_fences_[now.thread]; }
    /// A chunk, by its offset, is read by a product of the warpgroup from now on; has been read.
    void begin_product(size_t offset, const Now& now);
    const std::byte* end_product(size_t offset, const Now& now);
    /// Nothing is under way any more.
    void forget();

  private:
    static constexpr size_t kAlignment = 1024;  // bytes
    struct alignas(kAlignment) Block {
        std::byte bytes[kAlignment];
    };
    struct Chunk {
        uint32_t n_products = 0;
        bool is_copied = false;
    };

    std::vector<Block> memory_;
    std::vector<Touch> touches_;    // of each byte
    std::vector<uint64_t> fences_;  // of its writer, before it was written
    std::vector<Chunk> chunks_;
    std::vector<uint64_t> n_fences_;  // of each thread
    size_t n_under_way_ = 0;          // chunks, counted for each of their products
};

}  // namespace ingot::runtime::gpu::emulator

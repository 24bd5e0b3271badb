#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>

namespace ingot {

/// The bytes of a file that cannot be mapped, and are brought into memory as they are needed. Thread-safe.
class LazyBytes {
  public:
    virtual ~LazyBytes() = default;
    /// Nothing where only the end will tell.
    virtual std::optional<uint64_t> size_bytes() const = 0;
    /// Makes bytes [offset, offset + size_bytes) of `memory` those of the file; does so once for each. Throws
    /// Error when they cannot be had.
    virtual void load(std::byte* memory, uint64_t offset, uint64_t size_bytes) = 0;
};

}  // namespace ingot

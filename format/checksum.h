#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace ingot {

/// XXH3-128 as 32 lower-case hex digits (high 64 bits first): the form of `ingot.checksum.xxh3_128`.
std::string xxh3_128_hex(std::span<const std::byte> bytes);

uint64_t xxh3_64(std::span<const std::byte> bytes);

/// XXH3-128 over bytes that arrive in pieces, in order. Not thread-safe.
class StreamingChecksum {
  public:
    StreamingChecksum();
    ~StreamingChecksum();
    StreamingChecksum(StreamingChecksum&&) noexcept;
    StreamingChecksum& operator=(StreamingChecksum&&) noexcept;
    void update(std::span<const std::byte> bytes);
    std::string hex() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace ingot

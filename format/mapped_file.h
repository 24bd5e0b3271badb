#pragma once
#include <cstddef>
#include <filesystem>
#include <span>

namespace ingot {

/// A regular file mapped read-only. Movable, not copyable; the bytes stay valid while it lives.
/// Thread-safe once constructed. Throws Error for anything that is not a readable regular file.
class MappedFile {
  public:
    explicit MappedFile(const std::filesystem::path& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;

    const std::filesystem::path& path() const { return path_; }
    std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

    /// Hints; a no-op where the system has none.
    void will_need(size_t offset, size_t size_bytes) const;
    void dont_need(size_t offset, size_t size_bytes) const;

    /// The path of the mapped file that holds `address`, or null. Async-signal-safe: the program's SIGBUS
    /// handler uses it to say which file shrank while it was mapped.
    static const char* path_of_address(const void* address);

  private:
    std::filesystem::path path_;
    const std::byte* data_ = nullptr;
    size_t size_bytes_ = 0;
};

}  // namespace ingot

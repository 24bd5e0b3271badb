#pragma once
#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

#include "format/lazy_bytes.h"

namespace ingot {

/// A regular file mapped read-only; or memory that stands for one, whose bytes come when they are asked for:
/// unpacked, downloaded, read from a pipe. Movable, not copyable; the bytes stay valid while it lives.
/// Thread-safe once constructed. Throws Error for anything that is not a readable regular file.
class MappedFile {
  public:
    explicit MappedFile(const std::filesystem::path& path);
    /// Memory for `size_bytes` bytes, of which only what is touched takes any.
    MappedFile(const std::filesystem::path& path, std::shared_ptr<LazyBytes> source, size_t size_bytes);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;

    const std::filesystem::path& path() const { return path_; }
    std::span<const std::byte> bytes() const { return {data_, size_bytes_}; }

    /// Whether the bytes are those of the file of that path, one for one.
    bool is_plain() const { return lazy_ == nullptr; }
    const std::shared_ptr<LazyBytes>& lazy() const { return lazy_; }
    /// Brings these bytes into memory where they are not mapped. To be called before they are read.
    void require(size_t offset, size_t size_bytes) const {
        if (lazy_) lazy_->load(const_cast<std::byte*>(data_), offset, size_bytes);
    }
    /// The file is shorter than the memory: its end was not known.
    void shorten(size_t size_bytes) { size_bytes_ = size_bytes; }

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
    size_t mapped_bytes_ = 0;  // at least size_bytes_
    std::shared_ptr<LazyBytes> lazy_;
};

}  // namespace ingot

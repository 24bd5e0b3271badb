// The only file that knows how this operating system maps files (POSIX).
#include "format/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

#include "format/error.h"

namespace ingot {
namespace {

std::string reason(int error_number) {
    return std::generic_category().message(error_number);
}

/// Which addresses belong to which file, for a signal handler: a list that only grows, whose entries are
/// reused. A handler looks at the path of an entry only when the faulting address lies in its range, and such
/// an entry is not being reused: its file is mapped.
struct Mapping {
    std::atomic<bool> taken{true};
    std::atomic<uintptr_t> begin{0};
    std::atomic<uintptr_t> end{0};
    std::string path;
    Mapping* next = nullptr;
};
std::atomic<Mapping*> first_mapping{nullptr};

void register_mapping(const void* data, size_t size_bytes, const std::string& path) {
    Mapping* mapping = first_mapping.load(std::memory_order_acquire);
    for (; mapping != nullptr; mapping = mapping->next) {
        bool taken = false;
        if (mapping->taken.compare_exchange_strong(taken, true)) break;
    }
    const bool fresh = mapping == nullptr;
    if (fresh) mapping = new Mapping;
    mapping->path = path;
    mapping->end.store(uintptr_t(data) + size_bytes, std::memory_order_relaxed);
    mapping->begin.store(uintptr_t(data), std::memory_order_release);
    if (fresh) {
        mapping->next = first_mapping.load(std::memory_order_relaxed);
        while (!first_mapping.compare_exchange_weak(mapping->next, mapping, std::memory_order_release)) {
        }
    }
}

void unregister_mapping(const void* data) {
    for (Mapping* mapping = first_mapping.load(std::memory_order_acquire); mapping; mapping = mapping->next) {
        if (mapping->begin.load(std::memory_order_relaxed) != uintptr_t(data)) continue;
        mapping->end.store(0, std::memory_order_relaxed);
        mapping->begin.store(0, std::memory_order_relaxed);
        mapping->taken.store(false, std::memory_order_release);
        return;
    }
}

/// Closes a descriptor at the end of a scope.
struct Descriptor {
    int number;
    ~Descriptor() {
        if (number >= 0) ::close(number);
    }
};

const char* kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISSOCK(mode)) return "a socket";
    return "a device";
}

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
    // Without O_NONBLOCK, opening a pipe waits for its writer.
    const Descriptor descriptor{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
    if (descriptor.number < 0) fail("{}: cannot be opened: {}", path.string(), reason(errno));
    struct stat status {};
    if (::fstat(descriptor.number, &status) != 0) {
        fail("{}: its size cannot be read: {}", path.string(), reason(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        fail("{}: is {}; expected a regular file", path.string(), kind_of(status.st_mode));
    }
    size_bytes_ = size_t(status.st_size);
    mapped_bytes_ = size_bytes_;
    if (size_bytes_ == 0) return;  // an empty mapping does not exist
    void* data = ::mmap(nullptr, size_bytes_, PROT_READ, MAP_SHARED, descriptor.number, 0);
    if (data == MAP_FAILED) {
        fail("{}: {} bytes cannot be mapped: {}", path.string(), grouped(size_bytes_), reason(errno));
    }
    data_ = static_cast<const std::byte*>(data);
    register_mapping(data_, size_bytes_, path.string());
}

MappedFile::MappedFile(const std::filesystem::path& path, std::shared_ptr<LazyBytes> source,
                       size_t size_bytes)
    : path_(path), size_bytes_(size_bytes), mapped_bytes_(size_bytes), lazy_(std::move(source)) {
    if (size_bytes == 0) return;
    void* data = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        fail("{}: there is no memory for its {} bytes: {}", path.string(), grouped(size_bytes),
             reason(errno));
    data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
    if (data_ == nullptr) return;
    if (is_plain()) unregister_mapping(data_);
    ::munmap(const_cast<std::byte*>(data_), mapped_bytes_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_bytes_(std::exchange(other.size_bytes_, 0)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)),
      lazy_(std::exchange(other.lazy_, nullptr)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(mapped_bytes_, other.mapped_bytes_);
    std::swap(lazy_, other.lazy_);
    return *this;
}

namespace {

void advise(std::span<const std::byte> bytes, size_t offset, size_t size_bytes, int advice) {
    if (offset >= bytes.size()) return;
    const size_t page_bytes = size_t(::sysconf(_SC_PAGESIZE));
    const size_t begin = offset / page_bytes * page_bytes;
    const size_t end = offset + std::min(size_bytes, bytes.size() - offset);
    ::madvise(const_cast<std::byte*>(bytes.data()) + begin, end - begin, advice);  // a hint: may be refused
}

}  // namespace

void MappedFile::will_need(size_t offset, size_t size_bytes) const {
    if (is_plain()) advise(bytes(), offset, size_bytes, MADV_WILLNEED);
}

void MappedFile::dont_need(size_t offset, size_t size_bytes) const {
    // Of memory that is no file's it would make zeros.
    if (is_plain()) advise(bytes(), offset, size_bytes, MADV_DONTNEED);
}

const char* MappedFile::path_of_address(const void* address) {
    for (const Mapping* mapping = first_mapping.load(std::memory_order_acquire); mapping != nullptr;
         mapping = mapping->next) {
        const uintptr_t begin = mapping->begin.load(std::memory_order_acquire);
        if (begin != 0 && uintptr_t(address) >= begin &&
            uintptr_t(address) < mapping->end.load(std::memory_order_relaxed)) {
            return mapping->path.c_str();
        }
    }
    return nullptr;
}

}  // namespace ingot

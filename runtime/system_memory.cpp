#include "runtime/system_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "format/error.h"

namespace ingot::runtime {
namespace {

std::string reason(int error_number) {
    return std::generic_category().message(error_number);
}

}  // namespace

LargeMemory::LargeMemory(size_t size_bytes) : size_bytes_(size_bytes) {
    if (size_bytes == 0) return;
    // More than is wanted, so that it can begin with a large page; the rest is given back.
    const size_t mapped = size_bytes + kPageBytes;
    if (mapped < size_bytes) throw std::bad_alloc();
    void* const data = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    const size_t page = size_t(::sysconf(_SC_PAGESIZE));
    const size_t before = (kPageBytes - reinterpret_cast<uintptr_t>(data) % kPageBytes) % kPageBytes;
    const size_t used = (size_bytes + page - 1) / page * page;
    data_ = static_cast<std::byte*>(data) + before;
    if (before > 0) ::munmap(data, before);
    if (mapped > before + used) ::munmap(data_ + used, mapped - before - used);
#if defined(MADV_HUGEPAGE)
    ::madvise(data_, size_bytes, MADV_HUGEPAGE);  // a hint: without it, pages are small
#endif
    spread_over_nodes(bytes());
}

LargeMemory::~LargeMemory() {
    if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

LargeMemory::LargeMemory(LargeMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_bytes_(std::exchange(other.size_bytes_, 0)) {}

LargeMemory& LargeMemory::operator=(LargeMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    return *this;
}

BulkFile::BulkFile(const std::filesystem::path& path, bool direct) : path_(path) {
#if defined(O_DIRECT)
    if (direct) {
        descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
        is_direct_ = descriptor_ >= 0;  // file systems in memory refuse
    }
#endif
    if (descriptor_ < 0) descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail("{}: cannot be opened: {}", path.string(), reason(errno));
#if defined(F_NOCACHE)
    if (direct) is_direct_ = ::fcntl(descriptor_, F_NOCACHE, 1) == 0;
#endif
}

BulkFile::~BulkFile() {
    ::close(descriptor_);
}

void BulkFile::read_at(uint64_t offset, std::span<std::byte> room, size_t n_bytes) const {
    for (size_t done = 0; done < n_bytes;) {
        const ssize_t n = ::pread(descriptor_, room.data() + done, room.size() - done, off_t(offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) fail("{}: cannot be read at byte {}: {}", path_.string(), offset + done, reason(errno));
        if (n == 0) {
            fail("{}: ends at byte {}, but had more when it was opened: it shrank while it was read",
                 path_.string(), offset + done);
        }
        done += size_t(n);
    }
}

bool spread_over_nodes([[maybe_unused]] std::span<std::byte> bytes, [[maybe_unused]] int least_nodes) {
#if defined(__linux__)
    // The system calls themselves: their library (libnuma) does little more.
    using Word = unsigned long;
    constexpr unsigned long kMostNodes = 1024, kWordBits = 8 * sizeof(Word);
    Word nodes[kMostNodes / kWordBits] = {};
    if (::syscall(SYS_get_mempolicy, nullptr, nodes, kMostNodes, nullptr, MPOL_F_MEMS_ALLOWED) != 0)
        return false;
    int n_nodes = 0;
    for (const Word word : nodes) n_nodes += std::popcount(word);
    if (n_nodes < least_nodes) return false;
    return ::syscall(SYS_mbind, bytes.data(), bytes.size(), MPOL_INTERLEAVE, nodes, kMostNodes, 0) == 0;
#else
    return false;
#endif
}

void lock_memory(std::span<const std::byte> bytes) {
    if (bytes.empty()) return;
    if (::mlock(bytes.data(), bytes.size()) == 0) return;
    const int error_number = errno;
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    const bool limited = limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes.size();
    fail("{:.1f} MiB cannot be locked in memory: {}{}", double(bytes.size()) / (1 << 20),
         reason(error_number),
         limited ? fmt::format("; {:.1f} MiB are allowed, `ulimit -l unlimited` or CAP_IPC_LOCK allows more",
                               double(limit.rlim_cur) / (1 << 20))
                 : std::string("; run without --lock"));
}

}  // namespace ingot::runtime

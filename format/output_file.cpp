// The only file that knows how this operating system writes files (POSIX).
#include "format/output_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "format/error.h"

namespace ingot {
namespace {

namespace fs = std::filesystem;

std::string reason(int error_number) {
    return std::generic_category().message(error_number);
}

fs::path folder_of(const fs::path& target) {
    return target.has_parent_path() ? target.parent_path() : fs::path(".");
}

[[noreturn]] void fail_for_space(const fs::path& target, uint64_t size_bytes) {
    struct statvfs volume {};
    std::string free = "too little";
    if (::statvfs(folder_of(target).c_str(), &volume) == 0) {
        free = grouped(uint64_t(volume.f_bavail) * volume.f_frsize) + " bytes";
    }
    fail("{}: needs {} bytes but its disk has {} free; make room or write to another disk", target.string(),
         grouped(size_bytes), free);
}

/// Gives the file its blocks on disk now. The free space is compared first: asking for more than there is
/// would fill the disk for everybody else until the answer comes.
void reserve(int descriptor, const fs::path& target, uint64_t size_bytes) {
    if (size_bytes == 0) return;
    struct statvfs volume {};
    struct stat status {};
    const uint64_t present = ::fstat(descriptor, &status) == 0 ? uint64_t(status.st_blocks) * 512 : 0;
    const uint64_t needed = size_bytes - std::min(size_bytes, present);
    if (size_bytes > uint64_t(INT64_MAX) ||
        (needed > 0 && ::fstatvfs(descriptor, &volume) == 0 && needed / volume.f_frsize >= volume.f_bavail)) {
        fail_for_space(target, size_bytes);
    }
    int error_number = EOPNOTSUPP;
#if defined(__linux__)  // posix_fallocate() would write to every block where fallocate() is not supported
    do {
        error_number = ::fallocate(descriptor, 0, 0, off_t(size_bytes)) == 0 ? 0 : errno;
    } while (error_number == EINTR);
#endif
    if (error_number == EOPNOTSUPP || error_number == EINVAL || error_number == ENOSYS) {
        error_number = ::ftruncate(descriptor, off_t(size_bytes)) == 0 ? 0 : errno;
    }
    if (error_number == ENOSPC || error_number == EDQUOT) fail_for_space(target, size_bytes);
    if (error_number != 0) {
        fail("{}: {} bytes cannot be reserved: {}", target.string(), grouped(size_bytes),
             reason(error_number));
    }
}

/// The disk begins to take these bytes now, instead of all at once when commit() waits for them. A hint.
void start_writing_back([[maybe_unused]] int descriptor, [[maybe_unused]] uint64_t offset,
                        [[maybe_unused]] uint64_t size_bytes) {
#if defined(__linux__)
    constexpr uint64_t kWorthwhile = 64 << 10;  // a note in the journal is not
    if (size_bytes >= kWorthwhile)
        ::sync_file_range(descriptor, off_t(offset), off_t(size_bytes), SYNC_FILE_RANGE_WRITE);
#endif
}

/// Gives a finished file its name; 0 or the error's number. A new name in the same folder appears atomically,
/// and unless it may replace another file, only where there is none.
int take_name(const std::string& unfinished, const fs::path& target, bool overwrite) {
    if (overwrite) return ::rename(unfinished.c_str(), target.c_str()) == 0 ? 0 : errno;
#if defined(RENAME_NOREPLACE)
    if (::renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0) return 0;
    if (errno == EEXIST) return EEXIST;  // anything else: a file system that cannot
#endif
    if (::link(unfinished.c_str(), target.c_str()) == 0) {  // cannot replace either
        ::unlink(unfinished.c_str());
        return 0;
    }
    if (errno == EEXIST) return EEXIST;
    return ::rename(unfinished.c_str(), target.c_str()) == 0 ? 0 : errno;
}

}  // namespace

fs::path OutputFile::unfinished_path_of(const fs::path& target) {
    return folder_of(target) / (target.filename().string() + ".ingot-partial");
}

OutputFile::OutputFile(std::filesystem::path target, uint64_t size_bytes, bool overwrite,
                       uint64_t journal_bytes, Space space)
    : target_(std::move(target)),
      size_bytes_(size_bytes),
      has_journal_(journal_bytes > 0),
      overwrite_(overwrite) {
    std::error_code ignored;
    if (fs::is_symlink(target_, ignored)) {  // what the link points to is replaced, not the link
        const fs::path resolved = fs::weakly_canonical(target_, ignored);
        if (!ignored) target_ = resolved;
    }
    struct stat status {};
    const bool exists = ::stat(target_.c_str(), &status) == 0;
    if (exists && !S_ISREG(status.st_mode)) {
        fail("{}: exists and is not a regular file; choose another name", target_.string());
    }
    if (exists && !overwrite)
        fail("{}: exists already; choose another name or overwrite it", target_.string());

    uint64_t reserved_bytes = 0;
    if (__builtin_add_overflow(size_bytes, journal_bytes, &reserved_bytes)) reserved_bytes = UINT64_MAX;
    open();
    try {
        if (exists) ::fchmod(descriptor_, status.st_mode & 0777);  // stays as its owner set it, if we may
        struct stat earlier {};
        has_earlier_bytes_ = has_journal_ && ::fstat(descriptor_, &earlier) == 0 &&
                             uint64_t(earlier.st_size) == reserved_bytes;
        if (!has_earlier_bytes_ && ::ftruncate(descriptor_, 0) != 0) {
            fail("{}: cannot be emptied: {}", unfinished_, reason(errno));
        }
        if (space == Space::Reserved) {
            reserve(descriptor_, target_, reserved_bytes);
        } else if (::ftruncate(descriptor_, off_t(reserved_bytes)) != 0) {
            fail("{}: cannot take {} bytes: {}", target_.string(), grouped(reserved_bytes), reason(errno));
        }
    } catch (...) {
        discard();
        throw;
    }
}

/// Opens or creates the unfinished file, for this process alone. Its permissions are those of any new file
/// (0666 less the umask).
void OutputFile::open() {
    const std::string path = unfinished_path_of(target_).string();
    for (int attempt = 0; attempt < 100; ++attempt) {
        descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (descriptor_ < 0) {
            fail("{}: no file can be created in its folder: {}", target_.string(), reason(errno));
        }
        struct stat opened {
        }, named{};
        const bool locked = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
        const bool busy = !locked && errno == EWOULDBLOCK;  // else: a file system without locks
        const bool regular = ::fstat(descriptor_, &opened) == 0 && S_ISREG(opened.st_mode);
        // The file may have been finished or removed between open() and flock(). A second name means that it
        // is a finished one, and must not be written to.
        const bool current = ::stat(path.c_str(), &named) == 0 && named.st_ino == opened.st_ino &&
                             named.st_dev == opened.st_dev;
        if (!busy && regular && current && opened.st_nlink == 1) {
            unfinished_ = path;
            return;
        }
        ::close(std::exchange(descriptor_, -1));
        if (busy) {
            fail(
                "{}: another process is writing it just now ({} is locked); wait for it, or choose another "
                "name",
                target_.string(), path);
        }
        if (!regular) fail("{}: is not a regular file; remove it", path);
        if (current && ::unlink(path.c_str()) != 0) fail("{}: cannot be removed: {}", path, reason(errno));
    }
    fail("{}: {} changes all the time; another program is at work there", target_.string(), path);
}

OutputFile::~OutputFile() {
    discard();
}

void OutputFile::discard() noexcept {
    // Removed while it is still locked: whoever opens the name next makes a file of its own.
    if (!unfinished_.empty() && !kept_) ::unlink(unfinished_.c_str());
    unfinished_.clear();
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
}

void OutputFile::read_at(uint64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
        const ssize_t n = ::pread(descriptor_, bytes.data(), bytes.size(), off_t(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            fail("{}: {} bytes cannot be read at byte {}: {}", unfinished_, grouped(bytes.size()),
                 grouped(offset), n < 0 ? reason(errno) : "it ends before");
        }
        offset += uint64_t(n);
        bytes = bytes.subspan(size_t(n));
    }
}

void OutputFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
    const uint64_t first = offset;
    while (!bytes.empty()) {
        const ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), off_t(offset));
        if (written < 0) {
            if (errno == EINTR) continue;
            if (errno == ENOSPC || errno == EDQUOT) fail_for_space(target_, offset + bytes.size());
            fail("{}: {} bytes cannot be written at byte {}: {}", target_.string(), grouped(bytes.size()),
                 grouped(offset), reason(errno));
        }
        offset += uint64_t(written);
        bytes = bytes.subspan(size_t(written));
    }
    start_writing_back(descriptor_, first, offset - first);
}

void OutputFile::copy_from(const fs::path& source, uint64_t source_offset, uint64_t offset,
                           uint64_t size_bytes) {
    const struct Descriptor {
        int number;
        ~Descriptor() {
            if (number >= 0) ::close(number);
        }
    } from{::open(source.c_str(), O_RDONLY | O_CLOEXEC)};
    if (from.number < 0) fail("{}: cannot be opened: {}", source.string(), reason(errno));
#if defined(__linux__)
    while (size_bytes > 0) {
        auto in = loff_t(source_offset), out = loff_t(offset);
        const ssize_t n = ::copy_file_range(from.number, &in, descriptor_, &out, size_bytes, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT)) fail_for_space(target_, offset + size_bytes);
        if (n <= 0) break;  // between these two files it must be done by hand, or the file ended
        source_offset += uint64_t(n);
        offset += uint64_t(n);
        size_bytes -= uint64_t(n);
    }
#endif
    constexpr uint64_t kPieceBytes = 4 << 20;
    std::vector<std::byte> piece;
    while (size_bytes > 0) {
        piece.resize(std::min(kPieceBytes, size_bytes));
        const ssize_t n = ::pread(from.number, piece.data(), piece.size(), off_t(source_offset));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            fail("{}: {} bytes cannot be read at byte {}: {}", source.string(), grouped(piece.size()),
                 grouped(source_offset), n < 0 ? reason(errno) : "it ends before");
        }
        write_at(offset, std::span(piece).first(size_t(n)));
        source_offset += uint64_t(n);
        offset += uint64_t(n);
        size_bytes -= uint64_t(n);
    }
}

void OutputFile::sync() {
    if (::fsync(descriptor_) != 0) {
        fail("{}: its bytes cannot be made durable: {}", target_.string(), reason(errno));
    }
}

void OutputFile::commit() {
    sync();
    if (::ftruncate(descriptor_, off_t(size_bytes_)) !=
        0) {  // the journal goes, after everything else is safe
        fail("{}: cannot be cut to {} bytes: {}", target_.string(), grouped(size_bytes_), reason(errno));
    }
    if (const int error_number = take_name(unfinished_, target_, overwrite_)) {
        fail("{}: the finished file cannot take this name: {}", target_.string(), reason(error_number));
    }
    unfinished_.clear();
    const bool synced = ::fsync(descriptor_) == 0;  // of its size
    if (::close(std::exchange(descriptor_, -1)) != 0 || !synced) {
        fail("{}: is written, but cannot be made durable: {}", target_.string(), reason(errno));
    }
    // The new name is durable once the folder is. Where folders cannot be synced, that is up to the file
    // system.
    const int folder = ::open(folder_of(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return;
    const int error_number = ::fsync(folder) == 0 ? 0 : errno;
    ::close(folder);
    if (error_number != 0 && error_number != EINVAL) {
        fail("{}: is written, but its folder cannot be made durable: {}", target_.string(),
             reason(error_number));
    }
}

}  // namespace ingot

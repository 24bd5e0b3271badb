// The only file that knows how this operating system writes files (POSIX).
#include "format/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <system_error>
#include <utility>

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

/// Creates a file that did not exist, beside the target: a rename within one folder replaces atomically.
/// Its permissions are those of any new file (0666 less the umask).
int create_beside(const fs::path& target, std::string& created) {
    std::random_device random;
    for (int attempt = 0; attempt < 100; ++attempt) {
        const std::string name = fmt::format("{}.{:08x}.partial", target.filename().string(), random());
        created = (folder_of(target) / name).string();
        const int descriptor = ::open(created.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0) return descriptor;
        if (errno != EEXIST) break;
    }
    const int error_number = errno;
    created.clear();
    fail("{}: no file can be created in its folder: {}", target.string(), reason(error_number));
}

/// Gives the file its blocks on disk now. The free space is compared first: asking for more than there is
/// would fill the disk for everybody else until the answer comes.
void reserve(int descriptor, const fs::path& target, uint64_t size_bytes) {
    if (size_bytes == 0) return;
    struct statvfs volume {};
    if (size_bytes > uint64_t(INT64_MAX) ||
        (::fstatvfs(descriptor, &volume) == 0 && size_bytes / volume.f_frsize >= volume.f_bavail)) {
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

/// Gives a finished file its name; 0 or the error's number. A new name in the same folder appears atomically,
/// and unless it may replace another file, only where there is none: link() cannot replace, rename() does.
int take_name(const std::string& temporary, const fs::path& target, bool overwrite) {
    if (!overwrite) {
        if (::link(temporary.c_str(), target.c_str()) == 0) {
            ::unlink(temporary.c_str());
            return 0;
        }
        if (errno == EEXIST) return EEXIST;  // anything else: a file system without links
    }
    return ::rename(temporary.c_str(), target.c_str()) == 0 ? 0 : errno;
}

}  // namespace

OutputFile::OutputFile(std::filesystem::path target, uint64_t size_bytes, bool overwrite)
    : target_(std::move(target)), overwrite_(overwrite) {
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

    descriptor_ = create_beside(target_, temporary_);
    try {
        if (exists) ::fchmod(descriptor_, status.st_mode & 0777);  // stays as its owner set it, if we may
        reserve(descriptor_, target_, size_bytes);
    } catch (...) {
        discard();
        throw;
    }
}

OutputFile::~OutputFile() {
    discard();
}

void OutputFile::discard() noexcept {
    if (descriptor_ >= 0) ::close(std::exchange(descriptor_, -1));
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
}

void OutputFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
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
}

void OutputFile::commit() {
    if (::fsync(descriptor_) != 0) {
        fail("{}: its bytes cannot be made durable: {}", target_.string(), reason(errno));
    }
    if (::close(std::exchange(descriptor_, -1)) != 0) {
        fail("{}: cannot be closed: {}", target_.string(), reason(errno));
    }
    if (const int error_number = take_name(temporary_, target_, overwrite_)) {
        fail("{}: the finished file cannot take this name: {}", target_.string(), reason(error_number));
    }
    temporary_.clear();
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

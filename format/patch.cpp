#include "format/patch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "format/checksum.h"
#include "format/error.h"
#include "format/output_file.h"

namespace ingot {

namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

constexpr char kMagic[16] = "ingot edit 1\n\0\0";
constexpr uint64_t kChecksumDigits = 32;
constexpr uint64_t kMaxPatch = uint64_t(1) << 32;  // bytes; of a header that no file has

std::string reason() {
    return std::generic_category().message(errno);
}

enum class Access { Read, Write };

/// An open file; for writing: locked, for this process alone.
class OpenFile {
  public:
    OpenFile(const fs::path& path, Access access) : path_(path) {
        const bool writable = access == Access::Write;
        descriptor_ = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
        if (descriptor_ < 0) {
            fail("{}: cannot be opened{}: {}", path.string(), writable ? " for writing" : "", reason());
        }
        if (writable && ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
            ::close(descriptor_);
            fail("{}: another process is changing it just now; wait for it", path.string());
        }
    }
    ~OpenFile() { ::close(descriptor_); }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    uint64_t size_bytes() const {
        struct stat status {};
        if (::fstat(descriptor_, &status) != 0)
            fail("{}: its size cannot be read: {}", path_.string(), reason());
        return uint64_t(status.st_size);
    }

    Bytes read(uint64_t offset, uint64_t n) const {
        Bytes bytes(n);
        for (uint64_t at = 0; at < n;) {
            const ssize_t got = ::pread(descriptor_, bytes.data() + at, n - at, off_t(offset + at));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0)
                fail("{}: {} bytes cannot be read at byte {}", path_.string(), grouped(n), grouped(offset));
            at += uint64_t(got);
        }
        return bytes;
    }

    void write(uint64_t offset, std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::pwrite(descriptor_, bytes.data(), bytes.size(), off_t(offset));
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) {
                fail("{}: {} bytes cannot be written at byte {}: {}; `ingot edit --recover` goes on with it",
                     path_.string(), grouped(bytes.size()), grouped(offset), reason());
            }
            offset += uint64_t(n);
            bytes = bytes.subspan(size_t(n));
        }
        if (::fsync(descriptor_) != 0)
            fail("{}: its bytes cannot be made durable: {}", path_.string(), reason());
    }

  private:
    fs::path path_;
    int descriptor_ = -1;
};

/// What is written over what, and where.
struct Journal {
    uint64_t file_size_bytes = 0, offset = 0;
    Bytes old, now;

    Bytes encode() const {
        Bytes bytes;
        const auto add = [&](const void* data, size_t size) {
            const auto* begin = static_cast<const std::byte*>(data);
            bytes.insert(bytes.end(), begin, begin + size);
        };
        const uint64_t n = old.size();
        add(kMagic, sizeof kMagic);
        for (const uint64_t* number : {&file_size_bytes, &offset, &n}) add(number, sizeof *number);
        add(old.data(), old.size());
        add(now.data(), now.size());
        const std::string checksum = xxh3_128_hex(bytes);
        add(checksum.data(), checksum.size());
        return bytes;
    }

    static Journal decode(std::span<const std::byte> bytes, const fs::path& path) {
        constexpr uint64_t kFixed = sizeof kMagic + 3 * sizeof(uint64_t);
        Journal journal;
        uint64_t n = 0;
        if (bytes.size() >= kFixed + kChecksumDigits &&
            std::memcmp(bytes.data(), kMagic, sizeof kMagic) == 0) {
            std::memcpy(&journal.file_size_bytes, bytes.data() + sizeof kMagic, sizeof(uint64_t));
            std::memcpy(&journal.offset, bytes.data() + sizeof kMagic + 8, sizeof(uint64_t));
            std::memcpy(&n, bytes.data() + sizeof kMagic + 16, sizeof n);
        }
        const auto body = bytes.first(bytes.size() - std::min<uint64_t>(bytes.size(), kChecksumDigits));
        const std::string checksum = xxh3_128_hex(body);
        if (n == 0 || n > kMaxPatch || bytes.size() != kFixed + 2 * n + kChecksumDigits ||
            std::memcmp(bytes.data() + body.size(), checksum.data(), checksum.size()) != 0) {
            fail(
                "{}: is no journal of an edit, or a damaged one; if the file beside it is as it should be, "
                "remove the journal",
                path.string());
        }
        journal.old.assign(bytes.begin() + kFixed, bytes.begin() + long(kFixed + n));
        journal.now.assign(bytes.begin() + long(kFixed + n), bytes.begin() + long(kFixed + 2 * n));
        return journal;
    }

    /// What the file holds now; throws when it is neither the old bytes, nor the new, nor parts of both.
    UnfinishedPatch state(const OpenFile& file, const fs::path& path) const {
        uint64_t end = 0;
        if (file.size_bytes() == file_size_bytes && !__builtin_add_overflow(offset, now.size(), &end) &&
            end <= file_size_bytes) {
            const Bytes found = file.read(offset, now.size());
            bool is_old = true, is_new = true, is_either = true;
            for (size_t i = 0; i < found.size(); ++i) {
                is_old = is_old && found[i] == old[i];
                is_new = is_new && found[i] == now[i];
                is_either = is_either && (found[i] == old[i] || found[i] == now[i]);
            }
            if (is_new) return UnfinishedPatch::New;
            if (is_old) return UnfinishedPatch::Old;
            if (is_either) return UnfinishedPatch::Torn;
        }
        fail("{}: the journal {} is of an edit of another file; if the file is as it should be, remove it",
             path.string(), journal_of(path).filename().string());
    }
};

/// Reads the journal, through no mapping: it may be there or not.
std::optional<Journal> read_journal(const fs::path& file) {
    const fs::path path = journal_of(file);
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (descriptor < 0) {
        if (errno == ENOENT || errno == ENOTDIR) return {};
        fail("{}: cannot be opened: {}", path.string(), reason());
    }
    Bytes bytes;
    struct stat status {};
    bool whole = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
                 uint64_t(status.st_size) <= 2 * kMaxPatch + 256;
    if (whole) bytes.resize(size_t(status.st_size));
    for (size_t at = 0; whole && at < bytes.size();) {
        const ssize_t n = ::pread(descriptor, bytes.data() + at, bytes.size() - at, off_t(at));
        if (n < 0 && errno == EINTR) continue;
        whole = n > 0;
        at += size_t(std::max<ssize_t>(n, 0));
    }
    ::close(descriptor);
    if (!whole) fail("{}: cannot be read", path.string());
    return Journal::decode(bytes, path);
}

void remove_journal(const fs::path& file) {
    const fs::path path = journal_of(file);
    if (::unlink(path.c_str()) != 0) fail("{}: cannot be removed: {}", path.string(), reason());
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    ::fsync(descriptor);  // if it comes back, it is finished once more
    ::close(descriptor);
}

/// A link's journal is beside what it points to.
fs::path resolved(const fs::path& file) {
    std::error_code error;
    const fs::path target = fs::is_symlink(file, error) ? fs::weakly_canonical(file, error) : file;
    return error ? file : target;
}

}  // namespace

fs::path journal_of(const fs::path& file) {
    fs::path journal = resolved(file);
    journal += ".ingot-edit";
    return journal;
}

void patch_file(const fs::path& path, uint64_t offset, std::span<const std::byte> old,
                std::span<const std::byte> now) {
    if (old.size() != now.size() || now.size() > kMaxPatch)
        fail("{}: {} bytes cannot take the place of {}", path.string(), grouped(now.size()),
             grouped(old.size()));
    if (now.empty()) return;
    OpenFile file(path, Access::Write);
    if (read_journal(path)) {
        fail("{}: an earlier edit was cut short; `ingot edit --recover` finishes it", path.string());
    }
    Journal journal{file.size_bytes(), offset, {old.begin(), old.end()}, {now.begin(), now.end()}};
    if (file.read(offset, old.size()) != journal.old)
        fail("{}: was edited by another program meanwhile; try again", path.string());
    const Bytes encoded = journal.encode();
    OutputFile output(journal_of(path), encoded.size(), false);
    output.write_at(0, encoded);
    output.commit();
    file.write(offset, now);
    remove_journal(path);
}

UnfinishedPatch unfinished_patch(const fs::path& path) {
    const std::optional<Journal> journal = read_journal(path);
    if (!journal) return UnfinishedPatch::None;
    return journal->state(OpenFile(path, Access::Read), path);
}

bool finish_patch(const fs::path& path) {
    if (!read_journal(path)) return false;
    OpenFile file(path, Access::Write);
    const std::optional<Journal> journal = read_journal(path);  // again: another process may have finished it
    if (!journal) return false;
    if (journal->state(file, path) != UnfinishedPatch::New) file.write(journal->offset, journal->now);
    remove_journal(path);
    return true;
}

}  // namespace ingot

#include "format/open_bytes.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <string>
#include <system_error>

#include "format/error.h"
#include "format/http/http_bytes.h"
#include "format/packed_file.h"

namespace ingot {

namespace {

/// A pipe, read as far as was asked for.
class PipeBytes : public LazyBytes {
  public:
    std::optional<uint64_t> size_bytes() const override { return {}; }
    void load(std::byte* memory, uint64_t offset, uint64_t size_bytes) override {
        const std::lock_guard lock(mutex_);
        while (n_read_ < offset + size_bytes) {
            const ssize_t n = ::read(STDIN_FILENO, memory + n_read_, offset + size_bytes - n_read_);
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) fail("standard input cannot be read: {}", std::generic_category().message(errno));
            if (n == 0) {
                fail("standard input ends after {} bytes, but byte {} is needed; it is no whole GGUF file",
                     grouped(n_read_), grouped(offset + size_bytes));
            }
            n_read_ += uint64_t(n);
        }
    }

  private:
    std::mutex mutex_;
    uint64_t n_read_ = 0;
};

bool is_regular_input() {
    struct stat status {};
    return ::fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode);
}

MappedFile open_pipe(const std::filesystem::path& path) {
    if (::isatty(STDIN_FILENO) == 1)
        fail("standard input is a terminal; expected a GGUF file: ingot … - < FILE");
    // Address space for any file; memory is taken by what is read.
    constexpr size_t kMostBytes = size_t(1) << 42;
    return MappedFile(path, std::make_shared<PipeBytes>(), kMostBytes);
}

}  // namespace

bool is_remote(std::string_view path) {
    return path.starts_with("http://") || path.starts_with("https://");
}

MappedFile open_bytes(const std::filesystem::path& path) {
    const std::string text = path.string();
    if (text == "-" && !is_regular_input()) return open_pipe(path);
    if (is_remote(text)) {
        std::shared_ptr<HttpBytes> remote;
        try {
            remote = std::make_shared<HttpBytes>(text);
        } catch (const Error& error) {
            fail("{}: {}", text, error.what());
        }
        const uint64_t size_bytes = *remote->size_bytes();
        return MappedFile(path, std::move(remote), size_bytes);
    }
    MappedFile file(text == "-" ? "/dev/stdin" : path);
    if (!is_packed(file.bytes())) return file;
    auto packed = std::make_shared<PackedFile>(std::move(file));
    const uint64_t size_bytes = *packed->size_bytes();
    return MappedFile(path, std::move(packed), size_bytes);
}

}  // namespace ingot

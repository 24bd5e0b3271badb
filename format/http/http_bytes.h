#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "format/lazy_bytes.h"

namespace ingot {

/// A file behind a URL, read by ranges over one connection. Thread-safe; requests follow each other.
class HttpBytes : public LazyBytes {
  public:
    /// Asks for the first bytes, which tell the size. Throws Error when the server cannot be reached, has no
    /// such file, or does not serve ranges; and when this build has no HTTP.
    explicit HttpBytes(const std::string& url);
    ~HttpBytes() override;

    std::optional<uint64_t> size_bytes() const override { return size_bytes_; }
    void load(std::byte* memory, uint64_t offset, uint64_t size_bytes) override;
    uint64_t n_fetched_bytes() const { return n_fetched_bytes_; }

  private:
    struct Connection;
    void fetch(std::byte* target, uint64_t offset, uint64_t size_bytes);
    void add_loaded(uint64_t begin, uint64_t end);

    std::string url_;
    std::unique_ptr<Connection> connection_;
    std::vector<std::byte> beginning_;  // what the first request brought
    uint64_t size_bytes_ = 0;
    std::mutex mutex_;                                   // guards what follows, and the connection
    std::vector<std::pair<uint64_t, uint64_t>> loaded_;  // [begin, end), in order, apart
    uint64_t n_fetched_bytes_ = 0;
};

}  // namespace ingot

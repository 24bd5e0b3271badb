#include "format/digest.h"

#include <fmt/format.h>
#include <xxhash.h>

#include "format/checksum.h"
#include "format/error.h"

namespace ingot {
namespace {

class Xxh64Digest : public Digest {
  public:
    Xxh64Digest() {
        if (!state_ || XXH64_reset(state_.get(), 0) != XXH_OK) fail("no memory for a hash");
    }
    void update(std::span<const std::byte> bytes) override {
        XXH64_update(state_.get(), bytes.data(), bytes.size());
    }
    std::string hex() override { return fmt::format("{:016x}", XXH64_digest(state_.get())); }

  private:
    struct Free {
        void operator()(XXH64_state_t* state) const { XXH64_freeState(state); }
    };
    std::unique_ptr<XXH64_state_t, Free> state_{XXH64_createState()};
};

class Xxh3Digest : public Digest {
  public:
    void update(std::span<const std::byte> bytes) override { checksum_.update(bytes); }
    std::string hex() override { return checksum_.hex(); }

  private:
    StreamingChecksum checksum_;
};

}  // namespace

std::string_view name(DigestKind kind) {
    switch (kind) {
        case DigestKind::Xxh64:
            return "xxh64";
        case DigestKind::Xxh3_128:
            return "xxh3_128";
        case DigestKind::Sha1:
            return "sha1";
        case DigestKind::Sha256:
            return "sha256";
    }
    return "";
}

std::unique_ptr<Digest> Digest::make(DigestKind kind) {
    switch (kind) {
        case DigestKind::Xxh64:
            return std::make_unique<Xxh64Digest>();
        case DigestKind::Xxh3_128:
            return std::make_unique<Xxh3Digest>();
        case DigestKind::Sha1:
        case DigestKind::Sha256:
            break;
    }
    return detail::make_sha(kind);
}

std::string uuid_of_sha1(std::string_view sha1_hex) {
    std::string digits(sha1_hex.substr(0, 32));
    if (digits.size() != 32) fail("a SHA-1 has 40 hex digits, not {}", sha1_hex.size());
    digits[12] = '5';  // the version
    // The variant: two high bits 10, the other two of the digit as they are.
    const int digit = digits[16] <= '9' ? digits[16] - '0' : digits[16] - 'a' + 10;
    digits[16] = "89ab"[digit & 3];
    const auto part = [&](size_t begin, size_t n) { return std::string_view(digits).substr(begin, n); };
    return fmt::format("{}-{}-{}-{}-{}", part(0, 8), part(8, 4), part(12, 4), part(16, 4), part(20, 12));
}

}  // namespace ingot

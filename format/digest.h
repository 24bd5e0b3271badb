#pragma once
// Hashes that other programs print: those of llama.cpp's gguf-hash, and XXH3-128.
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace ingot {

enum class DigestKind { Xxh64, Xxh3_128, Sha1, Sha256 };
std::string_view name(DigestKind kind);  // "xxh64", "xxh3_128", "sha1", "sha256"

/// The hash of bytes that arrive in pieces, in order. xxHash with seed 0. Not thread-safe.
class Digest {
  public:
    /// Throws Error when this build has no SHA.
    static std::unique_ptr<Digest> make(DigestKind kind);
    virtual ~Digest() = default;
    virtual void update(std::span<const std::byte> bytes) = 0;
    /// Lower-case hex digits of what came so far; xxHash's numbers with the high digits first.
    virtual std::string hex() = 0;
};

/// The UUID (version 5) of a name space and a name whose SHA-1, over both, has these hex digits (RFC 9562,
/// section 5.5): "ef001206-dadc-5f6d-a15f-3359e577d4e5".
std::string uuid_of_sha1(std::string_view sha1_hex);

namespace detail {
std::unique_ptr<Digest> make_sha(DigestKind kind);  // digest_openssl.cpp, or digest_without_sha.cpp
}

}  // namespace ingot

#include "format/digest.h"

#include "tests/catch.h"

using namespace ingot;

namespace {

std::string hash_of(DigestKind kind, std::string_view text) {
    const auto digest = Digest::make(kind);
    digest->update(std::as_bytes(std::span(text)).first(text.size() / 2));
    digest->hex();  // does not end it
    digest->update(std::as_bytes(std::span(text)).subspan(text.size() / 2));
    return digest->hex();
}

}  // namespace

TEST_CASE("digest: the published values of nothing and of \"abc\"") {
    // FIPS 180-4's examples; xxHash's of seed 0.
    CHECK(hash_of(DigestKind::Sha1, "abc") == "a9993e364706816aba3e25717850c26c9cd0d89d");
    CHECK(hash_of(DigestKind::Sha1, "") == "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    CHECK(hash_of(DigestKind::Sha256, "abc") ==
          "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hash_of(DigestKind::Sha256, "") ==
          "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hash_of(DigestKind::Xxh64, "") == "ef46db3751d8e999");
    CHECK(hash_of(DigestKind::Xxh64, "abc") == "44bc2cf5ad770999");
    CHECK(hash_of(DigestKind::Xxh3_128, "") == "99aa06d3014798d86001c324468d497f");
}

TEST_CASE("digest: UUID version 5 of RFC 9562's name www.example.com in the name space of DNS") {
    // 6ba7b810-9dad-11d1-80b4-00c04fd430c8, then the name: RFC 9562, appendix A.4.
    std::string bytes("\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8", 16);
    bytes += "www.example.com";
    CHECK(uuid_of_sha1(hash_of(DigestKind::Sha1, bytes)) == "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

// SHA-1 and SHA-256 by OpenSSL.
#include <openssl/evp.h>

#include "format/digest.h"
#include "format/error.h"

namespace ingot::detail {
namespace {

class ShaDigest : public Digest {
  public:
    explicit ShaDigest(const EVP_MD* algorithm) : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), algorithm, nullptr) != 1)
            fail("OpenSSL cannot begin a {} hash", EVP_MD_get0_name(algorithm));
    }
    void update(std::span<const std::byte> bytes) override {
        if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1)
            fail("OpenSSL cannot go on with a hash");
    }
    std::string hex() override {
        // Of a copy: more bytes may follow.
        const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> copy(EVP_MD_CTX_new(), EVP_MD_CTX_free);
        unsigned char bytes[EVP_MAX_MD_SIZE];
        unsigned int n_bytes = 0;
        if (!copy || EVP_MD_CTX_copy_ex(copy.get(), context_.get()) != 1 ||
            EVP_DigestFinal_ex(copy.get(), bytes, &n_bytes) != 1) {
            fail("OpenSSL cannot finish a hash");
        }
        std::string text;
        for (unsigned int i = 0; i < n_bytes; ++i) text += fmt::format("{:02x}", bytes[i]);
        return text;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::unique_ptr<Digest> make_sha(DigestKind kind) {
    return std::make_unique<ShaDigest>(kind == DigestKind::Sha1 ? EVP_sha1() : EVP_sha256());
}

}  // namespace ingot::detail

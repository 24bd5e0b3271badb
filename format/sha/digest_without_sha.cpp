// Taken where OpenSSL was not found.
#include "format/digest.h"
#include "format/error.h"

namespace ingot::detail {

std::unique_ptr<Digest> make_sha(DigestKind kind) {
    fail(
        "{}: this program was built without OpenSSL; install it (Debian: libssl-dev) and build again, or use "
        "xxh64 or xxh3_128",
        name(kind));
}

}  // namespace ingot::detail

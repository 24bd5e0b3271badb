// Taken where libcurl was not found.
#include "format/error.h"
#include "format/http/http_bytes.h"

namespace ingot {

struct HttpBytes::Connection {};

HttpBytes::HttpBytes(const std::string&) {
    fail(
        "this program was built without libcurl; install it (Debian: libcurl4-openssl-dev) and build again, "
        "or download the file first");
}
HttpBytes::~HttpBytes() = default;
void HttpBytes::load(std::byte*, uint64_t, uint64_t) {}

}  // namespace ingot

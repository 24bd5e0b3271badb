#include "format/checksum.h"

#include <fmt/format.h>
#if defined(INGOT_XXHASH_DISPATCH)
#include <xxh_x86dispatch.h>  // the functions of xxhash.h, under their names
#else
#include <xxhash.h>
#endif

#include "format/error.h"

namespace ingot {
namespace {

std::string hex_of(XXH128_hash_t hash) {
    return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace

std::string xxh3_128_hex(std::span<const std::byte> bytes) {
    return hex_of(XXH3_128bits(bytes.data(), bytes.size()));
}

uint64_t xxh3_64(std::span<const std::byte> bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

struct StreamingChecksum::State {
    struct Free {
        void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
    };
    std::unique_ptr<XXH3_state_t, Free> xxh3{XXH3_createState()};
};

StreamingChecksum::StreamingChecksum() : state_(std::make_unique<State>()) {
    if (!state_->xxh3 || XXH3_128bits_reset(state_->xxh3.get()) != XXH_OK) fail("no memory for a checksum");
}
StreamingChecksum::~StreamingChecksum() = default;
StreamingChecksum::StreamingChecksum(StreamingChecksum&&) noexcept = default;
StreamingChecksum& StreamingChecksum::operator=(StreamingChecksum&&) noexcept = default;

void StreamingChecksum::update(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_->xxh3.get(), bytes.data(), bytes.size());
}

std::string StreamingChecksum::hex() const {
    return hex_of(XXH3_128bits_digest(state_->xxh3.get()));
}

}  // namespace ingot

#pragma once
// What stands before the frames of a packed file that zstd alone cannot unpack. SPEC.md, section 8.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ingot {

/// What was done to a frame's bytes before zstd packed them. The numbers are the file's.
enum class FrameTransform : uint8_t {
    None = 0,
    Planes = 1,      // the first bytes of all elements, then the second bytes …
    Difference = 2,  // elements minus those of the base, small ones near zero; then planes
};

/// How one frame becomes bytes of the file again.
struct FrameRecipe {
    uint64_t base_offset = 0;  // bytes of the base that it was packed against
    uint32_t base_bytes = 0;   // 0: against none
    FrameTransform transform = FrameTransform::None;
    uint8_t element_bytes = 1;
    uint64_t checksum = 0;  // XXH3-64 of the file's bytes
};

struct PackedHeader {
    uint64_t size_bytes = 0;  // of the file that it unpacks to
    uint64_t base_size_bytes = 0;
    std::string base_checksum = {};  // XXH3-128 of the base's bytes in 32 hex digits; empty: needs no base
    std::string base_name = {};      // without its folder; for people
    std::vector<FrameRecipe> frames = {};

    bool is_patch() const { return !base_checksum.empty(); }
};

/// Most bytes of the base that one frame may refer to.
inline constexpr uint32_t kMostBaseBytes = 128 << 20;

/// Whether the bytes begin like such a header.
bool has_packed_header(std::span<const std::byte> bytes);
std::vector<std::byte> encode_packed_header(const PackedHeader& header);
/// `header_bytes` receives how many of the bytes it takes. Throws Error for anything that SPEC.md does not
/// allow.
PackedHeader parse_packed_header(std::span<const std::byte> bytes, uint64_t& header_bytes);

/// `packed` and `target` have the same size and do not overlap; `base` has it too, or is empty where the
/// transform takes none. Bytes behind the last whole element stay as they are (minus the base's).
void transform_frame(FrameTransform transform, size_t element_bytes, std::span<const std::byte> source,
                     std::span<const std::byte> base, std::span<std::byte> target);
/// The way back.
void restore_frame(FrameTransform transform, size_t element_bytes, std::span<const std::byte> source,
                   std::span<const std::byte> base, std::span<std::byte> target);

}  // namespace ingot

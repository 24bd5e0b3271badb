#pragma once
// A file as zstd frames with a seek table. SPEC.md, section 8.
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "format/lazy_bytes.h"
#include "format/mapped_file.h"
#include "format/packed_header.h"

namespace ingot {

/// Whether the bytes begin with a frame of zstd, or with the header of a packed file that is Ingot's own.
bool is_packed(std::span<const std::byte> bytes);

/// A frame, and what it unpacks to.
struct PackedFrame {
    uint64_t packed_offset = 0, packed_bytes = 0;
    uint64_t offset = 0, size_bytes = 0;
};

/// Reads files that zstd packed; one frame at a time where a seek table says where they begin, otherwise as
/// the frames' own headers say. Thread-safe. Throws Error when frames do not tell their size, or do not fit.
class PackedFile : public LazyBytes {
  public:
    /// A patch needs the file that it was made against, which must live as long as this. Throws Error when
    /// it is another file, naming both checksums; and when a patch comes without one.
    explicit PackedFile(MappedFile file, const MappedFile* base = nullptr);
    bool has_header() const { return header_bytes_ > 0; }  // is Ingot's own
    const PackedHeader& header() const { return header_; }
    const std::vector<PackedFrame>& frames() const { return frames_; }
    uint64_t packed_bytes() const { return file_.bytes().size(); }

    std::optional<uint64_t> size_bytes() const override;
    /// Unpacks every frame that has some of these bytes, unless that was done.
    void load(std::byte* memory, uint64_t offset, uint64_t size_bytes) override;
    /// Unpacks one frame to exactly as many bytes as it has.
    void unpack(size_t frame, std::span<std::byte> target) const;

  private:
    enum class State : uint8_t { Packed, AtWork, Done };

    void read_header();
    void check_base() const;
    void check_recipes() const;
    void read_seek_table();
    void walk_frames();
    void load_frame(std::byte* memory, size_t frame);

    MappedFile file_;
    const MappedFile* base_;
    PackedHeader header_;  // with a recipe for each frame; empty where the file is zstd's alone
    uint64_t header_bytes_ = 0;
    std::vector<PackedFrame> frames_;  // in order, without gaps
    std::mutex mutex_;                 // guards states_
    std::vector<State> states_;        // by frame
    std::condition_variable done_;
};

/// The seek table of frames that stand one after the other: itself a skippable frame, to be written behind
/// them.
std::vector<std::byte> encode_seek_table(std::span<const PackedFrame> frames);

/// Packs bytes into one frame, with their size and a checksum. `level` is zstd's, 1 to 22; `far` looks for
/// matches across the whole frame. `base` is what matches may refer to besides: needed again to unpack.
/// Throws Error.
std::vector<std::byte> pack_frame(std::span<const std::byte> bytes, int level, bool far,
                                  std::span<const std::byte> base = {});
/// Unpacks one frame to exactly `target.size()` bytes. Throws Error when it has another size or is damaged.
void unpack_frame(std::span<const std::byte> frame, std::span<std::byte> target,
                  std::span<const std::byte> base = {});

}  // namespace ingot

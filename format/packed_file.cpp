#include "format/packed_file.h"

#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "format/checksum.h"
#include "format/error.h"

namespace ingot {

namespace {

// Of the seekable format (facebook/zstd, contrib/seekable_format/zstd_seekable_compression_format.md).
constexpr uint32_t kSkippable = 0x184D2A5E;
constexpr uint32_t kSeekable = 0x8F92EAB1;
constexpr size_t kSkippableHeader = 8;  // magic, size
constexpr size_t kFooterBytes = 9;      // number of frames, descriptor, magic
constexpr size_t kEntryBytes = 8;       // packed size, size
constexpr uint64_t kMaxFrameBytes = uint64_t(1) << 30;
constexpr int kLeastWindowBits = 10, kMostWindowBits = 28;  // zstd's least; base and frame of the largest
// No model packs as well as this; what does is made to fill memory.
constexpr uint64_t kSuspiciousBytes = 64 << 20, kSuspiciousRatio = 1000;

uint32_t u32_at(std::span<const std::byte> bytes, size_t offset) {
    uint32_t number;
    std::memcpy(&number, bytes.data() + offset, sizeof number);
    return number;
}

std::string reason(size_t code) {
    return ZSTD_getErrorName(code);
}

void check_ratio(const PackedFrame& frame) {
    if (frame.size_bytes <= kSuspiciousBytes || frame.size_bytes / kSuspiciousRatio <= frame.packed_bytes)
        return;
    fail("its frame at byte {} of {} bytes says that it unpacks to {}; no model packs so well",
         grouped(frame.packed_offset), grouped(frame.packed_bytes), grouped(frame.size_bytes));
}

}  // namespace

bool is_packed(std::span<const std::byte> bytes) {
    if (bytes.size() < sizeof(uint32_t)) return false;
    if (has_packed_header(bytes)) return true;
    const uint32_t magic = u32_at(bytes, 0);
    return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

PackedFile::PackedFile(MappedFile file, const MappedFile* base) : file_(std::move(file)), base_(base) {
    try {
        if (has_packed_header(file_.bytes())) read_header();
        check_base();
        read_seek_table();
        if (has_header()) check_recipes();
        if (frames_.empty()) walk_frames();
    } catch (const Error& error) {
        fail("{}: {}", file_.path().string(), error.what());
    }
    states_.assign(frames_.size(), State::Packed);
}

std::optional<uint64_t> PackedFile::size_bytes() const {
    return frames_.empty() ? 0 : frames_.back().offset + frames_.back().size_bytes;
}

void PackedFile::read_header() {
    header_ = parse_packed_header(file_.bytes(), header_bytes_);
}

void PackedFile::check_base() const {
    if (!header_.is_patch()) {
        if (base_) fail("is no patch; it is unpacked without another file");
        return;
    }
    const std::string name =
        header_.base_name.empty() ? "the file that it was made against" : printable(header_.base_name);
    if (!base_) {
        fail(
            "is a patch, which has only what differs from {} ({} bytes, XXH3-128 {}); `ingot unpack --from "
            "{} {}` makes a file of both",
            name, grouped(header_.base_size_bytes), header_.base_checksum,
            header_.base_name.empty() ? "BASE" : name, file_.path().string());
    }
    const std::string found = xxh3_128_hex(base_->bytes());
    if (base_->bytes().size() == header_.base_size_bytes && found == header_.base_checksum) return;
    fail("is a patch against {}: {} bytes, XXH3-128 {}; {} has {} bytes, XXH3-128 {}, and is another file",
         name, grouped(header_.base_size_bytes), header_.base_checksum, base_->path().string(),
         grouped(base_->bytes().size()), found);
}

/// The header's frames are those of the seek table, behind it.
void PackedFile::check_recipes() const {
    if (frames_.empty()) fail("its seek table is missing: it was cut short");
    if (frames_.front().packed_offset != header_bytes_) {
        fail("its first frame begins at byte {}, its header ends at {}",
             grouped(frames_.front().packed_offset), grouped(header_bytes_));
    }
    if (frames_.size() != header_.frames.size() || size_bytes() != header_.size_bytes) {
        fail("its seek table has {} frames of {} bytes, its header {} of {}", grouped(frames_.size()),
             grouped(*size_bytes()), grouped(header_.frames.size()), grouped(header_.size_bytes));
    }
    for (size_t i = 0; i < frames_.size(); ++i) {
        const FrameRecipe& recipe = header_.frames[i];
        if (recipe.transform == FrameTransform::Difference && recipe.base_bytes != frames_[i].size_bytes)
            fail("its frame {} of {} bytes is a difference from {}", i, grouped(frames_[i].size_bytes),
                 grouped(recipe.base_bytes));
    }
}

/// Leaves frames_ empty when the file has no seek table.
void PackedFile::read_seek_table() {
    const auto bytes = file_.bytes();
    if (bytes.size() < kSkippableHeader + kFooterBytes) return;
    const size_t footer = bytes.size() - kFooterBytes;
    if (u32_at(bytes, footer + 5) != kSeekable) return;
    const uint64_t n_frames = u32_at(bytes, footer);
    const auto descriptor = uint8_t(bytes[footer + 4]);
    if (descriptor & 0x7c) fail("its seek table has reserved bits set");
    const uint64_t entry_bytes = descriptor & 0x80 ? kEntryBytes + 4 : kEntryBytes;  // with checksums, unread
    const uint64_t table_bytes = n_frames * entry_bytes + kFooterBytes;
    if (table_bytes + kSkippableHeader > bytes.size()) fail("its seek table is larger than the file");
    const uint64_t begin = bytes.size() - table_bytes - kSkippableHeader;
    if (u32_at(bytes, begin) != kSkippable || u32_at(bytes, begin + 4) != table_bytes)
        fail("its seek table does not begin where its end says");
    PackedFrame next;
    frames_.reserve(n_frames);
    for (uint64_t i = 0; i < n_frames; ++i) {
        const size_t entry = begin + kSkippableHeader + i * entry_bytes;
        next.packed_bytes = u32_at(bytes, entry);
        next.size_bytes = u32_at(bytes, entry + 4);
        if (next.size_bytes > kMaxFrameBytes) fail("its frame {} has {} bytes", i, grouped(next.size_bytes));
        if (next.packed_bytes > begin - next.packed_offset)
            fail("its seek table says that frame {} ends behind byte {}", i, grouped(begin));
        check_ratio(next);
        if (next.size_bytes > 0) frames_.push_back(next);
        next.packed_offset += next.packed_bytes;
        next.offset += next.size_bytes;
    }
    if (next.packed_offset != begin) {
        fail("its seek table accounts for {} of {} bytes", grouped(next.packed_offset), grouped(begin));
    }
}

void PackedFile::walk_frames() {
    const auto bytes = file_.bytes();
    PackedFrame next;
    while (next.packed_offset < bytes.size()) {
        const auto rest = bytes.subspan(next.packed_offset);
        const size_t packed = ZSTD_findFrameCompressedSize(rest.data(), rest.size());
        if (ZSTD_isError(packed)) {
            fail("is no whole zstd file: at byte {}: {}", grouped(next.packed_offset), reason(packed));
        }
        const uint64_t size = ZSTD_getFrameContentSize(rest.data(), rest.size());
        if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR) {
            fail("its frames do not tell how large they are (zstd read a pipe); pack it with `ingot pack`");
        }
        next.packed_bytes = packed;
        next.size_bytes = size;
        uint64_t end = 0;
        if (__builtin_add_overflow(next.offset, size, &end) || end > uint64_t(INT64_MAX))
            fail("its frames unpack to more than 2^63 bytes");
        check_ratio(next);
        if (size > 0) frames_.push_back(next);
        next.packed_offset += packed;
        next.offset = end;
    }
}

void PackedFile::load(std::byte* memory, uint64_t offset, uint64_t size_bytes) {
    if (size_bytes == 0) return;
    auto frame = std::ranges::upper_bound(frames_, offset, {}, &PackedFrame::offset) - frames_.begin() - 1;
    for (; size_t(frame) < frames_.size() && frames_[size_t(frame)].offset < offset + size_bytes; ++frame)
        load_frame(memory, size_t(frame));
}

void PackedFile::load_frame(std::byte* memory, size_t frame) {
    {
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return states_[frame] != State::AtWork; });
        if (states_[frame] == State::Done) return;
        states_[frame] = State::AtWork;
    }
    const auto leave = [&](State state) {
        const std::lock_guard lock(mutex_);
        states_[frame] = state;
        done_.notify_all();
    };
    const PackedFrame& place = frames_[frame];
    try {
        unpack(frame, {memory + place.offset, size_t(place.size_bytes)});
    } catch (...) {
        leave(State::Packed);
        throw;
    }
    leave(State::Done);
}

void PackedFile::unpack(size_t frame, std::span<std::byte> target) const try {
    const PackedFrame& place = frames_[frame];
    const auto packed = file_.bytes().subspan(place.packed_offset, place.packed_bytes);
    if (!has_header()) return unpack_frame(packed, target);
    const FrameRecipe& recipe = header_.frames[frame];
    const auto base = recipe.base_bytes == 0 ? std::span<const std::byte>()
                                             : base_->bytes().subspan(recipe.base_offset, recipe.base_bytes);
    if (recipe.transform == FrameTransform::None) {
        unpack_frame(packed, target, base);
    } else {
        std::vector<std::byte> transformed(target.size());
        unpack_frame(packed, transformed);
        restore_frame(recipe.transform, recipe.element_bytes, transformed, base, target);
    }
    if (xxh3_64(target) != recipe.checksum)
        fail("does not unpack to the bytes that were packed: it is damaged{}",
             base.empty() ? "" : ", or the base has changed");
} catch (const Error& error) {
    fail("{}: frame {} at byte {}: {}", file_.path().string(), frame, grouped(frames_[frame].packed_offset),
         error.what());
}

std::vector<std::byte> encode_seek_table(std::span<const PackedFrame> frames) {
    const size_t table_bytes = frames.size() * kEntryBytes + kFooterBytes;
    std::vector<std::byte> bytes(kSkippableHeader + table_bytes);
    std::byte* next = bytes.data();
    const auto add = [&](const auto& number) {
        std::memcpy(next, &number, sizeof number);
        next += sizeof number;
    };
    add(kSkippable);
    add(uint32_t(table_bytes));
    for (const PackedFrame& frame : frames) {
        add(uint32_t(frame.packed_bytes));
        add(uint32_t(frame.size_bytes));
    }
    add(uint32_t(frames.size()));
    add(uint8_t(0));  // descriptor: no checksums here, the frames have their own
    add(kSeekable);
    return bytes;
}

std::vector<std::byte> pack_frame(std::span<const std::byte> bytes, int level, bool far,
                                  std::span<const std::byte> base) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
    if (!context) throw std::bad_alloc();
    const auto check = [](size_t code) {
        if (ZSTD_isError(code)) fail("zstd refuses a setting: {}", reason(code));
    };
    const auto set = [&](ZSTD_cParameter parameter, int value) {
        check(ZSTD_CCtx_setParameter(context.get(), parameter, value));
    };
    set(ZSTD_c_compressionLevel, level);
    set(ZSTD_c_checksumFlag, 1);
    set(ZSTD_c_contentSizeFlag, 1);
    if (far || !base.empty()) set(ZSTD_c_enableLongDistanceMatching, 1);
    if (!base.empty()) {
        // A window over all of both; of a base it would otherwise see the end.
        const int bits = std::bit_width(base.size() + bytes.size());
        set(ZSTD_c_windowLog, std::clamp(bits, kLeastWindowBits, kMostWindowBits));
        check(ZSTD_CCtx_refPrefix(context.get(), base.data(), base.size()));
    }
    std::vector<std::byte> packed(ZSTD_compressBound(bytes.size()));
    const size_t n = ZSTD_compress2(context.get(), packed.data(), packed.size(), bytes.data(), bytes.size());
    if (ZSTD_isError(n)) fail("zstd cannot pack {} bytes: {}", grouped(bytes.size()), reason(n));
    packed.resize(n);
    return packed;
}

void unpack_frame(std::span<const std::byte> frame, std::span<std::byte> target,
                  std::span<const std::byte> base) {
    const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
    if (!context) throw std::bad_alloc();
    if (!base.empty()) {
        const size_t code = ZSTD_DCtx_refPrefix(context.get(), base.data(), base.size());
        if (ZSTD_isError(code)) fail("zstd refuses the base: {}", reason(code));
    }
    const size_t n =
        ZSTD_decompressDCtx(context.get(), target.data(), target.size(), frame.data(), frame.size());
    if (ZSTD_isError(n)) fail("is damaged: {}", reason(n));
    if (n != target.size()) fail("unpacks to {} bytes; {} were expected", grouped(n), grouped(target.size()));
}

}  // namespace ingot

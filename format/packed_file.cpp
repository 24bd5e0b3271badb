#include "format/packed_file.h"

#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <string>

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
    const uint32_t magic = u32_at(bytes, 0);
    return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
}

PackedFile::PackedFile(MappedFile file) : file_(std::move(file)) {
    try {
        read_seek_table();
        if (frames_.empty()) walk_frames();
    } catch (const Error& error) {
        fail("{}: {}", file_.path().string(), error.what());
    }
    states_.assign(frames_.size(), State::Packed);
}

std::optional<uint64_t> PackedFile::size_bytes() const {
    return frames_.empty() ? 0 : frames_.back().offset + frames_.back().size_bytes;
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
        unpack_frame(file_.bytes().subspan(place.packed_offset, place.packed_bytes),
                     {memory + place.offset, size_t(place.size_bytes)});
    } catch (const Error& error) {
        leave(State::Packed);
        fail("{}: frame {} at byte {}: {}", file_.path().string(), frame, grouped(place.packed_offset),
             error.what());
    }
    leave(State::Done);
}

std::vector<std::byte> encode_seek_table(std::span<const PackedFrame> frames) {
    std::vector<std::byte> bytes;
    const auto add = [&](const auto& number) {
        const auto* begin = reinterpret_cast<const std::byte*>(&number);
        bytes.insert(bytes.end(), begin, begin + sizeof number);
    };
    add(kSkippable);
    add(uint32_t(frames.size() * kEntryBytes + kFooterBytes));
    for (const PackedFrame& frame : frames) {
        add(uint32_t(frame.packed_bytes));
        add(uint32_t(frame.size_bytes));
    }
    add(uint32_t(frames.size()));
    add(uint8_t(0));  // descriptor: no checksums here, the frames have their own
    add(kSeekable);
    return bytes;
}

std::vector<std::byte> pack_frame(std::span<const std::byte> bytes, int level, bool far) {
    const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
    if (!context) throw std::bad_alloc();
    const auto set = [&](ZSTD_cParameter parameter, int value) {
        if (const size_t code = ZSTD_CCtx_setParameter(context.get(), parameter, value); ZSTD_isError(code))
            fail("zstd refuses a setting: {}", reason(code));
    };
    set(ZSTD_c_compressionLevel, level);
    set(ZSTD_c_checksumFlag, 1);
    set(ZSTD_c_contentSizeFlag, 1);
    if (far) set(ZSTD_c_enableLongDistanceMatching, 1);
    std::vector<std::byte> packed(ZSTD_compressBound(bytes.size()));
    const size_t n = ZSTD_compress2(context.get(), packed.data(), packed.size(), bytes.data(), bytes.size());
    if (ZSTD_isError(n)) fail("zstd cannot pack {} bytes: {}", grouped(bytes.size()), reason(n));
    packed.resize(n);
    return packed;
}

void unpack_frame(std::span<const std::byte> frame, std::span<std::byte> target) {
    const size_t n = ZSTD_decompress(target.data(), target.size(), frame.data(), frame.size());
    if (ZSTD_isError(n)) fail("is damaged: {}", reason(n));
    if (n != target.size()) fail("unpacks to {} bytes; {} were expected", grouped(n), grouped(target.size()));
}

}  // namespace ingot

#include "converters/sources/zip.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <string_view>
#include <unordered_set>

#include "format/error.h"

namespace ingot::converters {

namespace {

static_assert(std::endian::native == std::endian::little, "zip numbers are little-endian");

// Signatures and sizes of the fixed parts of each structure (PKWARE's APPNOTE, section 4.3).
constexpr uint32_t kLocalHeader = 0x04034b50, kLocalBytes = 30;
constexpr uint32_t kCentralHeader = 0x02014b50, kCentralBytes = 46;
constexpr uint32_t kEnd = 0x06054b50, kEndBytes = 22;
constexpr uint32_t kEnd64 = 0x06064b50, kEnd64Bytes = 56;
constexpr uint32_t kLocator64 = 0x07064b50, kLocator64Bytes = 20;

constexpr uint64_t kMaxComment = 65535;
constexpr uint16_t kEncrypted = 1 << 0, kSizesFollow = 1 << 3, kStrongEncryption = 1 << 6,
                   kMaskedHeaders = 1 << 13;
constexpr uint16_t kZip64Field = 0x0001;   // of the extra field
constexpr uint32_t kIn64 = 0xffffffff;     // "the number is in the zip64 field"
constexpr uint64_t kMaxRecords = 1 << 18;  // twice the most tensors of a file

/// The archive's structures; every read is checked.
class Archive {
  public:
    Archive(std::span<const std::byte> file, const std::string& name) : file_(file), name_(name) {}

    std::vector<ZipRecord> read() {
        const Directory directory = find_directory();
        if (directory.n_records > kMaxRecords)
            fail("{}: an archive of {} records (at most {})", name_, directory.n_records, kMaxRecords);
        const uint64_t end = directory.offset + directory.size_bytes;
        uint64_t at = directory.offset;
        for (uint64_t i = 0; i < directory.n_records; ++i) at = read_record(at, end, directory.offset);
        if (at != end)
            fail("{}: the directory's {} records end at byte {}, expected {}", name_, directory.n_records, at,
                 end);
        check_places(directory.offset);
        std::vector<ZipRecord> records;
        for (Placed& placed : records_) records.push_back(std::move(placed.record));
        return records;
    }

  private:
    struct Directory {
        uint64_t offset = 0, size_bytes = 0, n_records = 0;
    };
    struct Placed {
        ZipRecord record;
        uint64_t begin = 0, end = 0;  // bytes of the file: local header, name and data
    };
    /// One of the two headers of a record.
    struct Header {
        uint16_t flags = 0, method = 0;
        uint32_t crc = 0;
        uint64_t stored_bytes = 0, size_bytes = 0, offset = 0;
        std::string_view name;
    };

    template <typename T>
    T number(uint64_t at) const {
        if (at > file_.size() || sizeof(T) > file_.size() - at)
            fail("{}: the archive ends inside a header at byte {}; the download may be incomplete", name_,
                 at);
        T value;
        std::memcpy(&value, file_.data() + at, sizeof(T));
        return value;
    }

    std::string_view text(uint64_t at, uint64_t n_bytes) const {
        if (at > file_.size() || n_bytes > file_.size() - at)
            fail("{}: the archive ends inside a header at byte {}; the download may be incomplete", name_,
                 at);
        return {reinterpret_cast<const char*>(file_.data()) + at, n_bytes};
    }

    /// The end record is the last thing of the file but for a comment whose length it knows.
    Directory find_directory() const {
        const uint64_t last = file_.size() < kEndBytes ? 0 : file_.size() - kEndBytes;
        const uint64_t first = last - std::min(last, kMaxComment);
        std::optional<uint64_t> end;
        for (uint64_t at = last; file_.size() >= kEndBytes && !end; --at) {
            const bool found =
                number<uint32_t>(at) == kEnd && at + kEndBytes + number<uint16_t>(at + 20) == file_.size();
            if (found) end = at;
            if (at == first) break;
        }
        if (!end) {
            fail(
                "{}: the archive has no directory at its end ({} bytes in all); the download may be "
                "incomplete",
                name_, file_.size());
        }
        Directory directory{number<uint32_t>(*end + 16), number<uint32_t>(*end + 12),
                            number<uint16_t>(*end + 10)};
        uint64_t n_disks = number<uint16_t>(*end + 4), n_here = number<uint16_t>(*end + 8);
        uint64_t directory_end = *end;
        const bool in_64 =
            directory.offset == kIn64 || directory.size_bytes == kIn64 || directory.n_records == 0xffff;
        if (in_64 && *end >= kLocator64Bytes && number<uint32_t>(*end - kLocator64Bytes) == kLocator64) {
            const uint64_t at = number<uint64_t>(*end - kLocator64Bytes + 8);
            if (at > *end - kLocator64Bytes || kEnd64Bytes > *end - kLocator64Bytes - at ||
                number<uint32_t>(at) != kEnd64) {
                fail("{}: no zip64 end record at byte {}, where the archive says it is", name_, at);
            }
            n_disks = number<uint32_t>(at + 16);
            n_here = number<uint64_t>(at + 24);
            directory = {number<uint64_t>(at + 48), number<uint64_t>(at + 40), number<uint64_t>(at + 32)};
            directory_end = at;
        }
        if (n_disks != 0 || n_here != directory.n_records)
            fail("{}: a part of an archive that was split over several disks", name_);
        if (directory.offset > directory_end || directory.size_bytes > directory_end - directory.offset ||
            directory.n_records > directory.size_bytes / kCentralBytes) {
            fail("{}: a directory of {} records in {} bytes at byte {} does not fit before byte {}", name_,
                 directory.n_records, directory.size_bytes, directory.offset, directory_end);
        }
        return directory;
    }

    /// Numbers that don't fit into 32 bits are in the zip64 field, in this order, and only they.
    void read_zip64(std::string_view extra, uint64_t extra_at, Header& header, bool with_offset) const {
        const bool wanted = header.size_bytes == kIn64 || header.stored_bytes == kIn64 ||
                            (with_offset && header.offset == kIn64);
        if (!wanted) return;
        for (uint64_t at = 0; at + 4 <= extra.size();) {
            const uint16_t id = number<uint16_t>(extra_at + at);
            const uint64_t n_bytes = number<uint16_t>(extra_at + at + 2);
            at += 4;
            if (n_bytes > extra.size() - at) break;
            if (id == kZip64Field) {
                uint64_t from = at;
                const auto take = [&](uint64_t& value) {
                    if (value != kIn64) return;
                    if (from + 8 > at + n_bytes)
                        fail("{}: record \"{}\" has a zip64 field of {} bytes, too few for its numbers",
                             name_, printable(header.name), n_bytes);
                    value = number<uint64_t>(extra_at + from);
                    from += 8;
                };
                take(header.size_bytes);
                take(header.stored_bytes);
                if (with_offset) take(header.offset);
                return;
            }
            at += n_bytes;
        }
    }

    Header read_header(uint64_t at, uint64_t fixed_bytes, uint64_t flags_at, uint64_t names_at) const {
        Header header;
        header.flags = number<uint16_t>(at + flags_at);
        header.method = number<uint16_t>(at + flags_at + 2);
        header.crc = number<uint32_t>(at + flags_at + 8);
        header.stored_bytes = number<uint32_t>(at + flags_at + 12);
        header.size_bytes = number<uint32_t>(at + flags_at + 16);
        header.name = text(at + fixed_bytes, number<uint16_t>(at + names_at));
        return header;
    }

    /// Returns where the next central header starts.
    uint64_t read_record(uint64_t at, uint64_t directory_end, uint64_t data_end) {
        if (number<uint32_t>(at) != kCentralHeader)
            fail("{}: no directory entry at byte {}, where the archive should have one", name_, at);
        Header central = read_header(at, kCentralBytes, 8, 28);
        central.offset = number<uint32_t>(at + 42);
        const uint64_t extra_at = at + kCentralBytes + central.name.size();
        const std::string_view extra = text(extra_at, number<uint16_t>(at + 30));
        read_zip64(extra, extra_at, central, true);
        const uint64_t next = extra_at + extra.size() + number<uint16_t>(at + 32);
        if (next > directory_end)
            fail("{}: the directory's entry \"{}\" goes beyond its end at byte {}", name_,
                 printable(central.name), directory_end);

        const std::string shown = printable(central.name);
        if (central.flags & (kEncrypted | kStrongEncryption | kMaskedHeaders))
            fail("{}: record \"{}\" is encrypted", name_, shown);
        if (central.method != 0 || central.stored_bytes != central.size_bytes) {
            fail(
                "{}: record \"{}\" is compressed (method {}, {} bytes to {}); torch.save stores records as "
                "they are: load the file with PyTorch and save it again",
                name_, shown, central.method, central.stored_bytes, central.size_bytes);
        }
        if (central.offset > data_end || kLocalBytes > data_end - central.offset ||
            number<uint32_t>(central.offset) != kLocalHeader) {
            fail("{}: record \"{}\" has no header at byte {}, where the directory has it", name_, shown,
                 central.offset);
        }
        const uint64_t data_at = check_local(central);
        if (data_at > data_end || central.size_bytes > data_end - data_at) {
            fail("{}: record \"{}\" of {} bytes at byte {} goes beyond the records' end at byte {}", name_,
                 shown, central.size_bytes, data_at, data_end);
        }
        if (central.name.empty() || central.name.find('\0') != std::string_view::npos)
            fail("{}: a record without a proper name (\"{}\")", name_, shown);
        if (!names_.insert(central.name).second) fail("{}: record \"{}\" appears twice", name_, shown);
        ZipRecord record{std::string(central.name), file_.subspan(data_at, central.size_bytes), central.crc};
        records_.push_back({std::move(record), central.offset, data_at + central.size_bytes});
        return next;
    }

    /// A reader that trusts the local header must see the same record. Returns where its data begin.
    uint64_t check_local(const Header& central) const {
        const uint64_t at = central.offset;
        Header local = read_header(at, kLocalBytes, 6, 26);
        const uint64_t extra_at = at + kLocalBytes + local.name.size();
        const std::string_view extra = text(extra_at, number<uint16_t>(at + 28));
        read_zip64(extra, extra_at, local, false);
        const bool follow = local.flags & kSizesFollow;  // behind the data: they may be zero here
        const auto same = [&](uint64_t here, uint64_t there) {
            return here == there || (follow && here == 0);
        };
        if (local.name != central.name || local.flags != central.flags || local.method != central.method ||
            !same(local.crc, central.crc) || !same(local.stored_bytes, central.stored_bytes) ||
            !same(local.size_bytes, central.size_bytes)) {
            fail(
                "{}: record \"{}\" has another name, size or flags in its own header at byte {} (\"{}\"): "
                "the "
                "file was tampered with, or is damaged",
                name_, printable(central.name), at, printable(local.name));
        }
        return extra_at + extra.size();
    }

    void check_places(uint64_t data_end) {
        std::ranges::sort(records_, {}, &Placed::begin);
        uint64_t position = 0;
        for (const Placed& placed : records_) {
            if (placed.begin < position)
                fail("{}: record \"{}\" at byte {} lies inside another that ends at {}", name_,
                     printable(placed.record.name), placed.begin, position);
            position = placed.end;
        }
        if (!records_.empty() && records_.front().begin != 0)
            fail("{}: {} bytes before the first record belong to no archive", name_, records_.front().begin);
        if (position > data_end) fail("{}: the last record reaches into the directory", name_);
    }

    std::span<const std::byte> file_;
    const std::string& name_;
    std::vector<Placed> records_;
    std::unordered_set<std::string_view> names_;  // views into the file
};

/// kTables[0] is the CRC of each byte; kTables[k] the same followed by k zero bytes, so that eight bytes are
/// looked up at once.
constexpr auto kTables = [] {
    std::array<std::array<uint32_t, 256>, 8> tables{};
    for (uint32_t byte = 0; byte < 256; ++byte) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? (crc >> 1) ^ 0xedb88320 : crc >> 1;
        tables[0][byte] = crc;
    }
    for (size_t k = 1; k < 8; ++k) {
        for (size_t byte = 0; byte < 256; ++byte) {
            const uint32_t crc = tables[k - 1][byte];
            tables[k][byte] = (crc >> 8) ^ tables[0][crc & 0xff];
        }
    }
    return tables;
}();

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t continued) {
    uint32_t crc = ~continued;
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, 8);
        word ^= crc;
        crc = 0;
        for (size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][(word >> (8 * k)) & 0xff];
    }
    for (; at < bytes.size(); ++at) crc = (crc >> 8) ^ kTables[0][(crc ^ uint32_t(bytes[at])) & 0xff];
    return ~crc;
}

std::vector<ZipRecord> parse_zip(std::span<const std::byte> file, const std::string& name) {
    return Archive(file, name).read();
}

void check_crc(const ZipRecord& record, const std::string& name) {
    const uint32_t crc = crc32(record.data);
    if (crc != record.crc) {
        fail("{}: record \"{}\" has the CRC {:08x}, but {:08x} was stored with it: the file is damaged", name,
             printable(record.name), crc, record.crc);
    }
}

}  // namespace ingot::converters

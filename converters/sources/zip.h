#pragma once
// A zip archive as torch.save writes it: every record is stored, none compressed, so that records are views.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ingot::converters {

struct ZipRecord {
    std::string name;  // "archive/data/0"
    std::span<const std::byte> data;
    uint32_t crc = 0;  // of the data, as the archive has it
};

/// The records of a whole archive in memory, in the order of their bytes; zip64 too. Throws Error when a
/// record is compressed or encrypted, when the two headers of a record disagree, when records overlap, or
/// when the first is not at the file's beginning. Messages start with `name`. Time and memory are linear in
/// the directory; the records' own bytes are not read.
std::vector<ZipRecord> parse_zip(std::span<const std::byte> file, const std::string& name);

/// Throws Error when the record's bytes have another CRC. Reads all of them.
void check_crc(const ZipRecord& record, const std::string& name);

/// CRC-32 as in zip (reflected polynomial 0xedb88320).
uint32_t crc32(std::span<const std::byte> bytes, uint32_t continued = 0);

}  // namespace ingot::converters

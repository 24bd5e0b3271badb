#pragma once
// PyTorch files made by hand: a stored zip archive and a pickle, byte by byte.
#include <string>
#include <vector>

#include "converters/sources/zip.h"
#include "tests/converters/checkpoint_files.h"

namespace ingot::test {

template <typename T>
std::string little_endian(T value) {
    std::string bytes(sizeof(T), '\0');
    std::memcpy(bytes.data(), &value, sizeof(T));
    return bytes;
}

struct ZipEntry {
    std::string name, data;
    uint16_t flags = 0, method = 0;
    std::string local_name = {};  // when it differs from the directory's
    int crc_error = 0;            // added to the CRC
    bool zip64 = false;           // sizes and offset in the zip64 field
    bool sizes_follow = false;    // zeros in the local header, as torch.save has them
};

inline std::string zip_file(const std::vector<ZipEntry>& entries) {
    std::string file, directory;
    for (const ZipEntry& entry : entries) {
        const uint32_t crc =
            converters::crc32(std::as_bytes(std::span(entry.data))) + uint32_t(entry.crc_error);
        const uint32_t size = uint32_t(entry.data.size()), offset = uint32_t(file.size());
        const uint16_t flags = uint16_t(entry.flags | (entry.sizes_follow ? 8 : 0));
        const std::string& local_name = entry.local_name.empty() ? entry.name : entry.local_name;
        const uint32_t local_size = entry.sizes_follow ? 0 : size;
        file += std::string("PK\x03\x04") + little_endian<uint16_t>(20) + little_endian(flags) +
                little_endian(entry.method) + little_endian<uint32_t>(0) +
                little_endian(entry.sizes_follow ? 0u : crc) + little_endian(local_size) +
                little_endian(local_size) + little_endian(uint16_t(local_name.size())) +
                little_endian<uint16_t>(0) + local_name + entry.data;
        std::string extra;
        if (entry.zip64) {
            extra = little_endian<uint16_t>(1) + little_endian<uint16_t>(24) + little_endian<uint64_t>(size) +
                    little_endian<uint64_t>(size) + little_endian<uint64_t>(offset);
        }
        const uint32_t shown_size = entry.zip64 ? UINT32_MAX : size;
        directory += std::string("PK\x01\x02") + little_endian<uint32_t>(20) + little_endian(flags) +
                     little_endian(entry.method) + little_endian<uint32_t>(0) + little_endian(crc) +
                     little_endian(shown_size) + little_endian(shown_size) +
                     little_endian(uint16_t(entry.name.size())) + little_endian(uint16_t(extra.size())) +
                     std::string(10, '\0') + little_endian(entry.zip64 ? UINT32_MAX : offset) + entry.name +
                     extra;
    }
    const uint32_t at = uint32_t(file.size());
    const bool zip64 = !entries.empty() && entries.front().zip64;
    std::string end;
    const uint16_t n = uint16_t(entries.size());
    if (zip64) {
        end = std::string("PK\x06\x06") + little_endian<uint64_t>(44) + little_endian<uint32_t>(0) +
              std::string(8, '\0') + little_endian<uint64_t>(n) + little_endian<uint64_t>(n) +
              little_endian<uint64_t>(directory.size()) + little_endian<uint64_t>(at) + "PK\x06\x07" +
              little_endian<uint32_t>(0) + little_endian<uint64_t>(at + directory.size()) +
              little_endian<uint32_t>(1);
    }
    end += std::string("PK\x05\x06") + little_endian<uint32_t>(0) +
           little_endian(zip64 ? uint16_t(0xffff) : n) + little_endian(zip64 ? uint16_t(0xffff) : n) +
           little_endian(zip64 ? UINT32_MAX : uint32_t(directory.size())) +
           little_endian(zip64 ? UINT32_MAX : at) + little_endian<uint16_t>(0);
    return file + directory + end;
}

/// Pieces of pickles.
namespace pickled {

inline std::string text(const std::string& value) {
    return std::string("X") + little_endian(uint32_t(value.size())) + value;
}
inline std::string integer(uint64_t value) {
    return std::string("\x8a\x08") + little_endian(value);
}
inline std::string global(const std::string& module, const std::string& name) {
    return std::string("c") + module + "\n" + name + "\n";
}
inline std::string tuple(const std::vector<uint64_t>& values) {
    std::string bytes = "(";
    for (const uint64_t value : values) bytes += integer(value);
    return bytes + "t";
}
inline std::string storage(const std::string& type, const std::string& key, uint64_t n_elements) {
    return std::string("(") + text("storage") + global("torch", type) + text(key) + text("cpu") +
           integer(n_elements) + "tQ";
}
inline std::string tensor(const std::string& storage, uint64_t offset, const std::vector<uint64_t>& shape,
                          const std::vector<uint64_t>& strides) {
    return global("torch._utils", "_rebuild_tensor_v2") + "(" + storage + integer(offset) + tuple(shape) +
           tuple(strides) + "\x89" + global("collections", "OrderedDict") + ")RtR";
}
/// A whole pickle: an OrderedDict of these values.
inline std::string dict(const std::vector<std::pair<std::string, std::string>>& members) {
    std::string bytes = "}(";
    for (const auto& [key, value] : members) bytes += text(key) + value;
    return bytes + "u";
}
inline std::string program(const std::string& value) {
    return std::string("\x80\x02") + value + ".";
}

}  // namespace pickled

/// An archive as torch.save writes it: the pickle, the byte order and a record for each storage.
inline std::string pytorch_file(const std::string& pickle,
                                const std::vector<std::pair<std::string, std::string>>& storages) {
    std::vector<ZipEntry> entries{{"archive/data.pkl", pickle}, {"archive/byteorder", "little"}};
    for (const auto& [key, data] : storages) entries.push_back({"archive/data/" + key, data});
    entries.push_back({"archive/version", "3\n"});
    for (ZipEntry& entry : entries) entry.sizes_follow = true;
    return zip_file(entries);
}

}  // namespace ingot::test

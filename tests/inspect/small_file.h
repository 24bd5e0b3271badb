#pragma once
// Small GGUF files for tests, written with Ingot's own writer.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "format/checksum.h"
#include "format/gguf.h"
#include "format/gguf_writer.h"
#include "format/ingot_keys.h"
#include "tests/files.h"

namespace ingot::test {

inline void write_bytes(const std::filesystem::path& path, const std::vector<std::byte>& bytes) {
    std::ofstream stream(path, std::ios::binary);
    stream.write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
}

/// The whole file: header, then tensor i filled with bytes that depend on i and the position.
inline std::vector<std::byte> encode_file(Metadata metadata, std::vector<TensorPlan> plans) {
    const GgufLayout layout(std::move(metadata), std::move(plans));
    std::vector<std::byte> bytes = layout.encode_header();
    bytes.resize(layout.file_size_bytes());
    uint8_t seed = 1;
    for (const TensorPlan& tensor : layout.tensors()) {
        for (uint64_t i = 0; i < tensor.size_bytes; ++i)
            bytes[tensor.offset + i] = std::byte(uint8_t(seed + 7 * i));
        ++seed;
    }
    return bytes;
}

/// As above, with the right checksums in the header.
inline std::vector<std::byte> encode_file_with_checksums(Metadata metadata,
                                                         const std::vector<TensorPlan>& plans) {
    MetadataArray checksums{std::vector<std::string>(plans.size(), std::string(keys::kPendingChecksum))};
    metadata.set(std::string(keys::kChecksums), checksums);
    const std::vector<std::byte> pending = encode_file(metadata, plans);
    const GgufHeader header = GgufHeader::parse(pending);
    std::vector<std::string> found;
    for (const TensorInfo& tensor : header.tensors()) {
        found.push_back(xxh3_128_hex(std::span(pending).subspan(tensor.offset, tensor.size_bytes)));
    }
    metadata.set(std::string(keys::kChecksums), MetadataArray{found});
    return encode_file(metadata, plans);
}

}  // namespace ingot::test

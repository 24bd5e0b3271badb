#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "format/metadata.h"
#include "format/tensor_type.h"

namespace ingot {

/// One tensor of a file to be written; shape as in TensorInfo (shape[0] is the row length).
struct TensorPlan {
    std::string name;
    TensorType type{};
    std::vector<uint64_t> shape;

    // Filled by GgufLayout:
    uint64_t n_elements = 0;
    uint64_t offset = 0;      // bytes from the start of the file
    uint64_t size_bytes = 0;  // without padding
};

/// A key with its value, as a header holds them. Throws Error when one of them cannot be written.
std::vector<std::byte> encode_key_value(const std::string& key, const MetadataValue& value);

/// Where every byte of a GGUF v3 file goes, decided before any tensor data exists. The header can be encoded
/// again after values of unchanged encoded size were replaced (checksums patched in after the data).
class GgufLayout {
  public:
    /// Takes `general.alignment` from the metadata when it is there. Throws Error on duplicate or over-long
    /// names, a row that is no whole number of blocks, or sizes beyond 64 bits.
    GgufLayout(Metadata metadata, std::vector<TensorPlan> tensors);

    Metadata& metadata() { return metadata_; }
    const Metadata& metadata() const { return metadata_; }
    const std::vector<TensorPlan>& tensors() const { return tensors_; }
    uint64_t data_offset() const { return data_offset_; }
    uint64_t file_size_bytes() const { return file_size_bytes_; }

    /// The encoded header: data_offset() bytes, padding included. Throws Error when metadata was changed in
    /// a way that no longer fits.
    std::vector<std::byte> encode_header() const;

  private:
    Metadata metadata_;
    std::vector<TensorPlan> tensors_;
    uint32_t alignment_ = kDefaultAlignment;
    uint64_t data_offset_ = 0;
    uint64_t file_size_bytes_ = 0;
};

}  // namespace ingot

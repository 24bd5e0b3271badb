#pragma once
// Where every byte of a safetensors checkpoint goes: one file, or shards with an index.
#include <cstdint>
#include <string>
#include <vector>

#include "format/tensor_type.h"

namespace ingot::converters {

struct SafetensorsTensor {
    std::string name;
    TensorType type{};            // F32, F16 or BF16
    std::vector<uint64_t> shape;  // GGUF order: shape[0] is the row length
    // Filled by the layout:
    size_t file = 0;      // into SafetensorsLayout::files
    uint64_t offset = 0;  // bytes from the start of that file
    uint64_t size_bytes = 0;
};

struct SafetensorsLayout {
    struct File {
        std::string name;    // "model-00001-of-00003.safetensors", or "model.safetensors"
        std::string header;  // with its length in front
        uint64_t size_bytes = 0;
    };
    std::vector<SafetensorsTensor> tensors;
    std::vector<File> files;
    std::string index;  // model.safetensors.index.json; empty for one file

    uint64_t size_bytes() const;  // of all files
};

/// Cuts before the tensor whose data would make a file's data larger than `max_file_bytes`; a tensor is never
/// cut. Throws Error when a type has no name in safetensors.
SafetensorsLayout lay_out_safetensors(std::vector<SafetensorsTensor> tensors, uint64_t max_file_bytes);

}  // namespace ingot::converters

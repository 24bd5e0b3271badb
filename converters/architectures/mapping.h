#pragma once
// The checkpoint's tensors under their GGUF names.
#include <cstdint>
#include <string>
#include <vector>

#include "converters/architectures/model_config.h"
#include "converters/sources/checkpoint.h"

namespace ingot::converters {

struct MappedTensor {
    std::string name;                      // in GGUF
    const SourceTensor* source = nullptr;  // into the checkpoint
    uint64_t interleaved_heads = 0;        // rows move within each of that many heads; 0: rows stay in order
};

struct Mapping {
    std::vector<MappedTensor> tensors;  // in the order of the file to be written
    std::vector<std::string> left_out;  // names of source tensors that are not needed
};

/// Every tensor is mapped or known to be unneeded, every expected one is there with the shape that
/// config.json implies and an element type that can be read. Throws one Error that lists all problems.
Mapping map_tensors(const ModelConfig& model, const Checkpoint& checkpoint);

/// Row `row` of a tensor whose `n_heads` heads of `head_dim` rows are interleaved comes from this row of the
/// source: rows 0, 1, 2, 3 … of a head are rows 0, h, 1, h + 1 … with h = head_dim / 2.
inline uint64_t interleaved_source_row(uint64_t row, uint64_t head_dim) {
    const uint64_t in_head = row % head_dim;
    return row - in_head + in_head / 2 + (in_head % 2) * (head_dim / 2);
}

}  // namespace ingot::converters

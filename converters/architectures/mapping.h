#pragma once
// The checkpoint's weights under their GGUF names.
#include <cstdint>
#include <string>
#include <vector>

#include "converters/architectures/model_config.h"
#include "converters/rows/weight_set.h"

namespace ingot::converters {

struct MappedTensor {
    std::string name;  // in GGUF
    RowsPtr rows;      // what is to be written there
};

struct Mapping {
    std::vector<MappedTensor> tensors;  // in the order of the file to be written
    std::vector<std::string> left_out;  // names of weights that are not needed
    std::vector<std::string> notes;     // what the user should know about those
};

/// Every weight is mapped or known to be unneeded, every expected one is there with the shape that
/// config.json implies and can be read. Throws one Error that lists all problems.
Mapping map_tensors(const ModelConfig& model, const WeightSet& weights);

}  // namespace ingot::converters

#include "converters/sources/checkpoint.h"

#include <algorithm>

namespace ingot::converters {

bool is_float(TensorType type) {
    return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16 ||
           type == TensorType::F64;
}

uint64_t SourceTensor::n_rows() const {
    // The product of all dimensions was found to fit into 64 bits when the source was opened.
    uint64_t rows = 1;
    for (size_t i = 1; i < shape.size(); ++i) rows *= shape[i];
    return rows;
}

const SourceTensor* Checkpoint::find(std::string_view name) const {
    const auto found = std::find_if(tensors().begin(), tensors().end(),
                                    [&](const SourceTensor& tensor) { return tensor.name == name; });
    return found == tensors().end() ? nullptr : &*found;
}

}  // namespace ingot::converters

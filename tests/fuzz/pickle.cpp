// Any bytes at all as a pickle, and as a whole archive: views of their storages, or an Error.
#include <cstdint>
#include <cstdlib>

#include "converters/sources/pickle.h"
#include "converters/sources/pytorch.h"
#include "format/error.h"

using namespace ingot::converters;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::span input(reinterpret_cast<const std::byte*>(data), size);
    try {
        for (const PickledTensor& tensor : read_pickled_tensors(input, "input")) {
            if (!tensor.element || tensor.shape.size() != tensor.strides.size()) std::abort();
        }
    } catch (const ingot::Error&) {
    }
    try {
        for (const SourceTensor& tensor : parse_pytorch(input, "input")) {
            const bool inside = tensor.data.empty() ||
                                (tensor.data.data() >= input.data() &&
                                 tensor.data.data() + tensor.data.size() <= input.data() + input.size());
            if (!inside) std::abort();
        }
    } catch (const ingot::Error&) {
    }
    return 0;
}

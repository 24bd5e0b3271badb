// Any bytes at all as a safetensors file: tensors inside the input, or an Error.
#include <cstdint>
#include <cstdlib>

#include "converters/sources/safetensors.h"
#include "format/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::span file(reinterpret_cast<const std::byte*>(data), size);
    try {
        for (const auto& tensor : ingot::converters::parse_safetensors(file, "input")) {
            const bool inside =
                tensor.data.empty() || (tensor.data.data() >= file.data() &&
                                        tensor.data.data() + tensor.data.size() <= file.data() + size);
            if (!inside) std::abort();
        }
    } catch (const ingot::Error&) {
    }
    return 0;
}

#pragma once
// The pickle of a PyTorch checkpoint, read by a machine that can build tensors and nothing else. Pickle is a
// program: it names functions and calls them. This machine knows the few that describe tensors, carries them
// out itself, and refuses every other by name.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor_type.h"

namespace ingot::converters {

/// An element type of PyTorch.
struct PickledElement {
    std::string_view storage;        // "FloatStorage"; empty where PyTorch has only untyped storages for it
    std::string_view dtype;          // "float32"
    std::string_view name;           // "F32", as in safetensors
    uint32_t size_bytes = 0;         // of one element
    std::optional<TensorType> type;  // nothing where Ingot's own types have none
};

/// A view of a storage, as torch._utils._rebuild_tensor_v2 describes it. Not checked against the storage's
/// bytes: the archive has them.
struct PickledTensor {
    std::string name;
    const PickledElement* element = nullptr;
    std::string storage;            // its key: the record "data/<key>"
    uint64_t storage_bytes = 0;     // as the pickle has it
    uint64_t offset = 0;            // elements
    std::vector<uint64_t> shape;    // PyTorch's order
    std::vector<uint64_t> strides;  // elements
};

/// All tensors of the state dict. It is the outermost dict, or stands in it under a usual name ("state_dict",
/// "model" …); values that are no tensors are ignored. Throws Error naming what was found: a global that is
/// not on the list, an operation that no checkpoint needs, anything malformed. Messages start with `name`.
/// Time is linear; memory is bounded by limits on values, stack and memo.
std::vector<PickledTensor> read_pickled_tensors(std::span<const std::byte> pickle, const std::string& name);

inline constexpr uint64_t kMaxPickleBytes = 64 << 20;

}  // namespace ingot::converters

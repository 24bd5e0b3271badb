#pragma once
// The machine that pickles run on: it can build plain values and descriptions of tensors, and nothing else.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "converters/sources/pickle.h"

namespace ingot::converters::pickle {

/// What a global on the list is for.
enum class Role : uint8_t {
    OrderedDict,
    Tensor,       // (storage, offset, size, stride, …)
    TypedTensor,  // (storage, offset, size, stride, requires_grad, hooks, dtype, …)
    Parameter,    // (tensor, …)
    FromType,     // (function, type, its arguments, state)
    TensorClass,  // only named, as a type
    ElementStorage,
    UntypedStorage,
    Dtype,
    Size,     // a tuple
    Ignored,  // harmless descriptions: made, never looked at
};

/// What a pickle builds. Texts are views of the pickle's own bytes.
struct Value {
    enum class Kind : uint8_t {
        Mark,
        None,
        Bool,
        Integer,
        Float,
        Text,
        Bytes,
        Tuple,
        List,
        Dict,
        Global,
        Storage,
        Tensor,
        Ignored
    };
    Kind kind{};
    Role role{};                              // Global
    int64_t integer = 0;                      // Integer, Bool; Storage: its bytes
    std::string_view text;                    // Text, Bytes; Storage: its key
    const PickledElement* element = nullptr;  // Global, Storage, Tensor
    std::vector<Value*>
        items;  // Tuple, List; Dict: key, value, key, …; Tensor: storage, offset, size, stride
};

/// Carries out the pickle's program and returns the value that it leaves behind. `values` owns all that it
/// made, and keeps the result valid. Throws Error, beginning with `name`, as read_pickled_tensors() says.
const Value& run(std::span<const std::byte> pickle, const std::string& name, std::deque<Value>& values);

}  // namespace ingot::converters::pickle

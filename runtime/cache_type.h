#pragma once
#include <cstdint>

#include "format/tensor_type.h"

namespace ingot::runtime {

/// How keys and values are kept. F32 is for comparisons: no rounding. Q8_0 takes half the memory of F16 (and
/// 1/16 more): 32 elements of a head with a scale, as in format/blocks/q8_0.h.
enum class CacheType : uint8_t { F16, F32, BF16, Q8_0 };

constexpr TensorType tensor_type(CacheType type) {
    switch (type) {
        case CacheType::F32:
            return TensorType::F32;
        case CacheType::BF16:
            return TensorType::BF16;
        case CacheType::Q8_0:
            return TensorType::Q8_0;
        default:
            return TensorType::F16;
    }
}

/// Bytes of n elements, whole blocks.
inline int64_t cache_bytes(CacheType type, int64_t n) {
    const int64_t block_elements = type == CacheType::Q8_0 ? 32 : 1;
    const int64_t block_bytes = type == CacheType::Q8_0 ? 34 : type == CacheType::F32 ? 4 : 2;
    return n / block_elements * block_bytes;
}

}  // namespace ingot::runtime

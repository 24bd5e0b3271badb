#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q1_0: 128 elements in 18 bytes, 1.125 bits each. One scale, and the sign of each element.
//
//     byte  0        2                           18
//           ├────────┼────────────────────────────┤
//           │ d      │ signs[16]                  │
//           └────────┴────────────────────────────┘
//
//     signs[k], k = 0…15        bit  b, b = 0…7:  1 where element 8k+b is positive
//
//     y[i] = d or -d
#pragma pack(push, 1)
struct BlockQ1_0 {
    static constexpr uint32_t kElements = 128;
    uint16_t d;         // half: scale
    uint8_t signs[16];  // set for positive
};
#pragma pack(pop)
static_assert(sizeof(BlockQ1_0) == 18 && alignof(BlockQ1_0) == 1);
static_assert(offsetof(BlockQ1_0, signs) == 2);

[[maybe_unused]] static inline void decode(const BlockQ1_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int i = 0; i < 128; ++i) y[i] = (block.signs[i / 8] >> (i % 8)) & 1 ? d : -d;
}

}  // namespace ingot

#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q8_0: 32 elements in 34 bytes, 8.5 bits each. One scale, signed 8-bit quants.
//
//     byte  0        2                           34
//           ├────────┼────────────────────────────┤
//           │ d      │ quants[32]                 │
//           └────────┴────────────────────────────┘
//
//     quants[i], i = 0…31       bit  7 6 5 4 3 2 1 0
//                                    q[i], two's complement
//
//     y[i] = d * q[i]
#pragma pack(push, 1)
struct BlockQ8_0 {
    static constexpr uint32_t kElements = 32;
    uint16_t d;         // half: scale
    int8_t quants[32];  // one element each
};
#pragma pack(pop)
static_assert(sizeof(BlockQ8_0) == 34 && alignof(BlockQ8_0) == 1);
static_assert(offsetof(BlockQ8_0, quants) == 2);

[[maybe_unused]] static inline void decode(const BlockQ8_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int i = 0; i < 32; ++i) y[i] = d * float(block.quants[i]);
}

}  // namespace ingot

#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q4_1: 32 elements in 20 bytes, 5 bits each. One scale and one minimum, quants 0…15.
//
//     byte  0        2        4                           20
//           ├────────┼────────┼────────────────────────────┤
//           │ d      │ min    │ quants[16]                 │
//           └────────┴────────┴────────────────────────────┘
//
//     quants[j], j = 0…15       bit  7 6 5 4       3 2 1 0
//                                    q[j+16]       q[j]
//
//     y[i] = d * q[i] + min
#pragma pack(push, 1)
struct BlockQ4_1 {
    static constexpr uint32_t kElements = 32;
    uint16_t d;          // half: scale
    uint16_t min;        // half: value of quant 0, added
    uint8_t quants[16];  // low nibbles: elements 0…15; high nibbles: elements 16…31
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_1) == 20 && alignof(BlockQ4_1) == 1);
static_assert(offsetof(BlockQ4_1, min) == 2 && offsetof(BlockQ4_1, quants) == 4);

[[maybe_unused]] static inline void decode(const BlockQ4_1& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    const float min = half_to_float(block.min);
    for (int j = 0; j < 16; ++j) y[j] = d * float(block.quants[j] & 0xf) + min;
    for (int j = 0; j < 16; ++j) y[j + 16] = d * float(block.quants[j] >> 4) + min;
}

}  // namespace ingot

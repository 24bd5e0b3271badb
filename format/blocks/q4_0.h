#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q4_0: 32 elements in 18 bytes, 4.5 bits each. One scale, quants 0…15 that stand for -8…7.
//
//     byte  0        2                           18
//           ├────────┼────────────────────────────┤
//           │ d      │ quants[16]                 │
//           └────────┴────────────────────────────┘
//
//     quants[j], j = 0…15       bit  7 6 5 4       3 2 1 0
//                                    q[j+16]       q[j]
//
//     y[i] = d * (q[i] - 8)
#pragma pack(push, 1)
struct BlockQ4_0 {
    static constexpr uint32_t kElements = 32;
    uint16_t d;          // half: scale
    uint8_t quants[16];  // low nibbles: elements 0…15; high nibbles: elements 16…31
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_0) == 18 && alignof(BlockQ4_0) == 1);
static_assert(offsetof(BlockQ4_0, quants) == 2);

[[maybe_unused]] static inline void decode(const BlockQ4_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int j = 0; j < 16; ++j) y[j] = d * float((block.quants[j] & 0xf) - 8);
    for (int j = 0; j < 16; ++j) y[j + 16] = d * float((block.quants[j] >> 4) - 8);
}

}  // namespace ingot

#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// TQ2_0: 256 elements in 66 bytes, 2.0625 bits each. One scale, quants 0…3 that stand for -1…2; ternary models
// use only 0…2.
//
//     byte  0                           64       66
//           ├───────────────────────────┼────────┤
//           │ quants[64]                │ d      │
//           └───────────────────────────┴────────┘
//
//     Two halves h = 0, 1 of 128 elements; each byte holds four elements that lie 32 apart:
//     quants[32h + l], l = 0…31  bit  7 6              5 4             3 2             1 0
//                                     q[128h+96+l]     q[128h+64+l]    q[128h+32+l]    q[128h+l]
//
//     y[i] = d * (q[i] - 1)
#pragma pack(push, 1)
struct BlockTQ2_0 {
    static constexpr uint32_t kElements = 256;
    uint8_t quants[64];  // 2 bits each
    uint16_t d;          // half: scale
};
#pragma pack(pop)
static_assert(sizeof(BlockTQ2_0) == 66 && alignof(BlockTQ2_0) == 1);
static_assert(offsetof(BlockTQ2_0, d) == 64);

[[maybe_unused]] static inline void decode(const BlockTQ2_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int row = 0; row < 8; ++row) {  // of 32 elements
        const uint8_t* quants = block.quants + 32 * (row / 4);
        const int shift = 2 * (row % 4);
        for (int l = 0; l < 32; ++l) y[32 * row + l] = d * float(((quants[l] >> shift) & 3) - 1);
    }
}

}  // namespace ingot

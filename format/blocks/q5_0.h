#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q5_0: 32 elements in 22 bytes, 5.5 bits each. One scale, quants 0…31 that stand for -16…15.
//
//     byte  0        2            6                           22
//           ├────────┼────────────┼────────────────────────────┤
//           │ d      │ high_bits  │ quants[16]                 │
//           └────────┴────────────┴────────────────────────────┘
//
//     quants[j], j = 0…15       bit  7 6 5 4              3 2 1 0
//                                    q[j+16] bits 3…0     q[j] bits 3…0
//     high_bits[k], k = 0…3     bit  b, b = 0…7:  bit 4 of q[8k+b]
//
//     y[i] = d * (q[i] - 16)
#pragma pack(push, 1)
struct BlockQ5_0 {
    static constexpr uint32_t kElements = 32;
    uint16_t d;            // half: scale
    uint8_t high_bits[4];  // bit 4 of every quant: a little-endian uint32 whose bit i belongs to element i
    uint8_t quants[16];    // low nibbles: elements 0…15; high nibbles: elements 16…31
};
#pragma pack(pop)
static_assert(sizeof(BlockQ5_0) == 22 && alignof(BlockQ5_0) == 1);
static_assert(offsetof(BlockQ5_0, high_bits) == 2 && offsetof(BlockQ5_0, quants) == 6);

[[maybe_unused]] static inline void decode(const BlockQ5_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int j = 0; j < 16; ++j) {
        const int bit4 = ((block.high_bits[j / 8] >> (j % 8)) & 1) << 4;
        y[j] = d * float(((block.quants[j] & 0xf) | bit4) - 16);
    }
    for (int j = 0; j < 16; ++j) {
        const int bit4 = ((block.high_bits[2 + j / 8] >> (j % 8)) & 1) << 4;
        y[j + 16] = d * float(((block.quants[j] >> 4) | bit4) - 16);
    }
}

}  // namespace ingot

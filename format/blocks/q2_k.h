#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q2_K: 256 elements in 84 bytes, 2.625 bits each. A super-block of 16 sub-blocks of 16 elements; each
// sub-block has a 4-bit scale and a 4-bit minimum, in units of d and dmin. Quants 0…3.
//
//     byte  0            16                          80       82       84
//           ├────────────┼───────────────────────────┼────────┼────────┤
//           │ scales[16] │ quants[64]                │ d      │ dmin   │
//           └────────────┴───────────────────────────┴────────┴────────┘
//
//     scales[s], s = 0…15       bit  7 6 5 4       3 2 1 0
//                                    min[s]        scale[s]
//
//     Two halves h = 0, 1 of 128 elements; each byte holds four elements that lie 32 apart:
//     quants[32h + l], l = 0…31  bit  7 6              5 4             3 2             1 0
//                                     q[128h+96+l]     q[128h+64+l]    q[128h+32+l]    q[128h+l]
//
//     y[i] = (d * scale[s]) * q[i] - (dmin * min[s]),  s = i / 16
#pragma pack(push, 1)
struct BlockQ2_K {
    static constexpr uint32_t kElements = 256;
    uint8_t scales[16];  // low nibble: scale of a sub-block; high nibble: its minimum
    uint8_t quants[64];  // 2 bits each
    uint16_t d;          // half: unit of the scales
    uint16_t dmin;       // half: unit of the minimums, which are subtracted
};
#pragma pack(pop)
static_assert(sizeof(BlockQ2_K) == 84 && alignof(BlockQ2_K) == 1);
static_assert(offsetof(BlockQ2_K, quants) == 16 && offsetof(BlockQ2_K, d) == 80 &&
              offsetof(BlockQ2_K, dmin) == 82);

[[maybe_unused]] static inline void decode(const BlockQ2_K& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    for (int s = 0; s < 16; ++s) {
        const float scale = d * float(block.scales[s] & 0xf);
        const float min = dmin * float(block.scales[s] >> 4);
        const uint8_t* quants = block.quants + 32 * (s / 8) + 16 * (s % 2);
        const int shift = 2 * (s / 2 % 4);
        for (int l = 0; l < 16; ++l) y[16 * s + l] = scale * float((quants[l] >> shift) & 3) - min;
    }
}

}  // namespace ingot

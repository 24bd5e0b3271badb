#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q6_K: 256 elements in 210 bytes, 6.5625 bits each. A super-block of 16 sub-blocks of 16 elements; each
// sub-block has a signed 8-bit scale in units of d. Quants -32…31, stored plus 32 in six bits.
//
//     byte  0                     128             192          208      210
//           ├─────────────────────┼───────────────┼────────────┼────────┤
//           │ quants[128]         │ high_bits[64] │ scales[16] │ d      │
//           └─────────────────────┴───────────────┴────────────┴────────┘
//
//     With u = q + 32, a number 0…63, and two halves h = 0, 1 of 128 elements:
//     quants[64h + l], l = 0…63     bit  7 6 5 4                  3 2 1 0
//                                        u[128h+64+l] bits 3…0    u[128h+l] bits 3…0
//     high_bits[32h + l], l = 0…31  bit  7 6              5 4             3 2             1 0
//                      bits 5…4 of       u[128h+96+l]     u[128h+64+l]    u[128h+32+l]    u[128h+l]
//     scales[s], s = 0…15           bit  7 6 5 4 3 2 1 0
//                                        scale[s], two's complement
//
//     y[i] = (d * scale[s]) * q[i],  s = i / 16
#pragma pack(push, 1)
struct BlockQ6_K {
    static constexpr uint32_t kElements = 256;
    uint8_t quants[128];    // bits 3…0 of each quant plus 32
    uint8_t high_bits[64];  // bits 5…4 of each quant plus 32
    int8_t scales[16];      // one for each sub-block
    uint16_t d;             // half: unit of the scales
};
#pragma pack(pop)
static_assert(sizeof(BlockQ6_K) == 210 && alignof(BlockQ6_K) == 1);
static_assert(offsetof(BlockQ6_K, high_bits) == 128 && offsetof(BlockQ6_K, scales) == 192 &&
              offsetof(BlockQ6_K, d) == 208);

[[maybe_unused]] static inline void decode(const BlockQ6_K& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int s = 0; s < 16; ++s) {
        const float scale = d * float(block.scales[s]);
        const uint8_t* quants = block.quants + 64 * (s / 8) + 16 * (s % 4);
        const uint8_t* high_bits = block.high_bits + 32 * (s / 8) + 16 * (s % 2);
        const int shift = 4 * (s / 4 % 2);
        const int high_shift = 2 * (s / 2 % 4);
        for (int l = 0; l < 16; ++l) {
            const int u = ((quants[l] >> shift) & 0xf) | (((high_bits[l] >> high_shift) & 3) << 4);
            y[16 * s + l] = scale * float(u - 32);
        }
    }
}

}  // namespace ingot

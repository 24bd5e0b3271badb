#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q4_K: 256 elements in 144 bytes, 4.5 bits each. A super-block of 8 sub-blocks of 32 elements; each
// sub-block has a 6-bit scale and a 6-bit minimum, in units of d and dmin. Quants 0…15.
//
//     byte  0        2        4            16                                144
//           ├────────┼────────┼────────────┼──────────────────────────────────┤
//           │ d      │ dmin   │ scales[12] │ quants[128]                      │
//           └────────┴────────┴────────────┴──────────────────────────────────┘
//
//     scales[k],     k = 0…3     bit  7 6                  5 4 3 2 1 0
//                                     scale[k+4] bits 5…4  scale[k]
//     scales[4 + k], k = 0…3     bit  7 6                  5 4 3 2 1 0
//                                     min[k+4] bits 5…4    min[k]
//     scales[8 + k], k = 0…3     bit  7 6 5 4              3 2 1 0
//                                     min[k+4] bits 3…0    scale[k+4] bits 3…0
//
//     Four chunks c = 0…3 of 64 elements, each two sub-blocks:
//     quants[32c + l], l = 0…31  bit  7 6 5 4       3 2 1 0
//                                     q[64c+32+l]   q[64c+l]
//
//     y[i] = (d * scale[s]) * q[i] - (dmin * min[s]),  s = i / 32
#pragma pack(push, 1)
struct BlockQ4_K {
    static constexpr uint32_t kElements = 256;
    uint16_t d;           // half: unit of the scales
    uint16_t dmin;        // half: unit of the minimums, which are subtracted
    uint8_t scales[12];   // 8 scales and 8 minimums of 6 bits: see unpack_scales
    uint8_t quants[128];  // 4 bits each
};
#pragma pack(pop)
static_assert(sizeof(BlockQ4_K) == 144 && alignof(BlockQ4_K) == 1);
static_assert(offsetof(BlockQ4_K, dmin) == 2 && offsetof(BlockQ4_K, scales) == 4 &&
              offsetof(BlockQ4_K, quants) == 16);

/// The 8 scales and 8 minimums of Q4_K and Q5_K, each 0…63.
[[maybe_unused]] static inline void unpack_scales(const uint8_t packed[12], uint8_t scale[8],
                                                  uint8_t min[8]) {
    for (int k = 0; k < 4; ++k) {
        scale[k] = packed[k] & 0x3f;
        min[k] = packed[4 + k] & 0x3f;
        scale[k + 4] = uint8_t((packed[8 + k] & 0xf) | ((packed[k] >> 6) << 4));
        min[k + 4] = uint8_t((packed[8 + k] >> 4) | ((packed[4 + k] >> 6) << 4));
    }
}

/// The inverse. Every scale and minimum must lie in 0…63.
[[maybe_unused]] static inline void pack_scales(const uint8_t scale[8], const uint8_t min[8],
                                                uint8_t packed[12]) {
    for (int k = 0; k < 4; ++k) {
        packed[k] = uint8_t(scale[k] | ((scale[k + 4] >> 4) << 6));
        packed[4 + k] = uint8_t(min[k] | ((min[k + 4] >> 4) << 6));
        packed[8 + k] = uint8_t((scale[k + 4] & 0xf) | ((min[k + 4] & 0xf) << 4));
    }
}

[[maybe_unused]] static inline void decode(const BlockQ4_K& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    uint8_t scales[8], mins[8];
    unpack_scales(block.scales, scales, mins);
    for (int s = 0; s < 8; ++s) {
        const float scale = d * float(scales[s]);
        const float min = dmin * float(mins[s]);
        const uint8_t* quants = block.quants + 32 * (s / 2);
        const int shift = 4 * (s % 2);
        for (int l = 0; l < 32; ++l) y[32 * s + l] = scale * float((quants[l] >> shift) & 0xf) - min;
    }
}

}  // namespace ingot

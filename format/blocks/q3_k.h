#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q3_K: 256 elements in 110 bytes, 3.4375 bits each. A super-block of 16 sub-blocks of 16 elements; each
// sub-block has a 6-bit scale -32…31 in units of d. Quants -4…3, stored plus 4 in three bits.
//
//     byte  0               32                     96           108      110
//           ├───────────────┼──────────────────────┼────────────┼────────┤
//           │ high_bits[32] │ quants[64]           │ scales[12] │ d      │
//           └───────────────┴──────────────────────┴────────────┴────────┘
//
//     With u = q + 4, a number 0…7, and two halves h = 0, 1 of 128 elements:
//     quants[32h + l], l = 0…31  bit  7 6              5 4             3 2             1 0
//                   bits 1…0 of       u[128h+96+l]     u[128h+64+l]    u[128h+32+l]    u[128h+l]
//     high_bits[l], l = 0…31     bit  b, b = 0…7:  bit 2 of u[32b+l]
//
//     With v = scale + 32, a number 0…63 (v[0] … v[15], one for each sub-block):
//     scales[k],     k = 0…7     bit  7 6 5 4            3 2 1 0
//                                     v[k+8] bits 3…0    v[k] bits 3…0
//     scales[8 + k], k = 0…3     bit  7 6          5 4         3 2         1 0
//                   bits 5…4 of       v[k+12]      v[k+8]      v[k+4]      v[k]
//
//     y[i] = (d * scale[s]) * q[i],  s = i / 16
#pragma pack(push, 1)
struct BlockQ3_K {
    static constexpr uint32_t kElements = 256;
    uint8_t high_bits[32];  // bit 2 of each quant plus 4
    uint8_t quants[64];     // bits 1…0 of each quant plus 4
    uint8_t scales[12];     // 16 scales of 6 bits: see unpack_scales
    uint16_t d;             // half: unit of the scales
};
#pragma pack(pop)
static_assert(sizeof(BlockQ3_K) == 110 && alignof(BlockQ3_K) == 1);
static_assert(offsetof(BlockQ3_K, quants) == 32 && offsetof(BlockQ3_K, scales) == 96 &&
              offsetof(BlockQ3_K, d) == 108);

/// The 16 scales, each -32…31.
[[maybe_unused]] static inline void unpack_scales(const uint8_t packed[12], int8_t scale[16]) {
    for (int k = 0; k < 4; ++k) {
        const uint8_t high = packed[8 + k];
        scale[k] = int8_t(((packed[k] & 0xf) | ((high & 3) << 4)) - 32);
        scale[k + 4] = int8_t(((packed[k + 4] & 0xf) | (((high >> 2) & 3) << 4)) - 32);
        scale[k + 8] = int8_t(((packed[k] >> 4) | (((high >> 4) & 3) << 4)) - 32);
        scale[k + 12] = int8_t(((packed[k + 4] >> 4) | ((high >> 6) << 4)) - 32);
    }
}

/// The inverse. Every scale must lie in -32…31.
[[maybe_unused]] static inline void pack_scales(const int8_t scale[16], uint8_t packed[12]) {
    uint8_t v[16];
    for (int s = 0; s < 16; ++s) v[s] = uint8_t(scale[s] + 32);
    for (int k = 0; k < 8; ++k) packed[k] = uint8_t((v[k] & 0xf) | ((v[k + 8] & 0xf) << 4));
    for (int k = 0; k < 4; ++k) {
        packed[8 + k] =
            uint8_t((v[k] >> 4) | ((v[k + 4] >> 4) << 2) | ((v[k + 8] >> 4) << 4) | ((v[k + 12] >> 4) << 6));
    }
}

[[maybe_unused]] static inline void decode(const BlockQ3_K& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    int8_t scales[16];
    unpack_scales(block.scales, scales);
    for (int s = 0; s < 16; ++s) {
        const float scale = d * float(scales[s]);
        const uint8_t* quants = block.quants + 32 * (s / 8) + 16 * (s % 2);
        const uint8_t* high_bits = block.high_bits + 16 * (s % 2);
        const int shift = 2 * (s / 2 % 4);
        const int high_shift = s / 2;
        for (int l = 0; l < 16; ++l) {
            const int u = ((quants[l] >> shift) & 3) | (((high_bits[l] >> high_shift) & 1) << 2);
            y[16 * s + l] = scale * float(u - 4);
        }
    }
}

}  // namespace ingot

#pragma once
#include <cstddef>
#include <cstdint>

#include "format/blocks/q4_k.h"  // unpack_scales, pack_scales: the same twelve bytes
#include "format/half.h"

namespace ingot {

// Q5_K: 256 elements in 176 bytes, 5.5 bits each. As Q4_K with a fifth bit: 8 sub-blocks of 32 elements, each
// with a 6-bit scale and a 6-bit minimum, in units of d and dmin. Quants 0…31.
//
//     byte  0        2        4            16              48                                176
//           ├────────┼────────┼────────────┼───────────────┼──────────────────────────────────┤
//           │ d      │ dmin   │ scales[12] │ high_bits[32] │ quants[128]                      │
//           └────────┴────────┴────────────┴───────────────┴──────────────────────────────────┘
//
//     scales: as in Q4_K (q4_k.h)
//
//     high_bits[l], l = 0…31     bit  b, b = 0…7:  bit 4 of q[32b+l]
//
//     Four chunks c = 0…3 of 64 elements, each two sub-blocks:
//     quants[32c + l], l = 0…31  bit  7 6 5 4                 3 2 1 0
//                                     q[64c+32+l] bits 3…0    q[64c+l] bits 3…0
//
//     y[i] = (d * scale[s]) * q[i] - (dmin * min[s]),  s = i / 32
#pragma pack(push, 1)
struct BlockQ5_K {
    static constexpr uint32_t kElements = 256;
    uint16_t d;             // half: unit of the scales
    uint16_t dmin;          // half: unit of the minimums, which are subtracted
    uint8_t scales[12];     // 8 scales and 8 minimums of 6 bits: see unpack_scales
    uint8_t high_bits[32];  // bit 4 of each quant
    uint8_t quants[128];    // bits 3…0 of each quant
};
#pragma pack(pop)
static_assert(sizeof(BlockQ5_K) == 176 && alignof(BlockQ5_K) == 1);
static_assert(offsetof(BlockQ5_K, dmin) == 2 && offsetof(BlockQ5_K, scales) == 4 &&
              offsetof(BlockQ5_K, high_bits) == 16 && offsetof(BlockQ5_K, quants) == 48);

[[maybe_unused]] static inline void decode(const BlockQ5_K& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    const float dmin = half_to_float(block.dmin);
    uint8_t scales[8], mins[8];
    unpack_scales(block.scales, scales, mins);
    for (int s = 0; s < 8; ++s) {
        const float scale = d * float(scales[s]);
        const float min = dmin * float(mins[s]);
        const uint8_t* quants = block.quants + 32 * (s / 2);
        const int shift = 4 * (s % 2);
        for (int l = 0; l < 32; ++l) {
            const int q = ((quants[l] >> shift) & 0xf) | (((block.high_bits[l] >> s) & 1) << 4);
            y[32 * s + l] = scale * float(q) - min;
        }
    }
}

}  // namespace ingot

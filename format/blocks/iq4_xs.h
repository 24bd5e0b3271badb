#pragma once
#include <cstddef>
#include <cstdint>

#include "format/blocks/iq4_nl.h"  // kIq4Values
#include "format/half.h"

namespace ingot {

// IQ4_XS: 256 elements in 136 bytes, 4.25 bits each. A super-block of 8 sub-blocks of 32 elements; each
// sub-block has a 6-bit scale -32…31 in units of d. Quants 0…15 that are looked up in kIq4Values.
//
//     byte  0        2             4             8                                 136
//           ├────────┼─────────────┼─────────────┼──────────────────────────────────┤
//           │ d      │ scales_high │ scales_low  │ quants[128]                      │
//           └────────┴─────────────┴─────────────┴──────────────────────────────────┘
//
//     With v = scale + 32, a number 0…63 (v[0] … v[7], one for each sub-block):
//     scales_low[k], k = 0…3     bit  7 6 5 4              3 2 1 0
//                                     v[2k+1] bits 3…0     v[2k] bits 3…0
//     scales_high (16 bits)      bit  2s+1 2s:  v[s] bits 5…4
//
//     quants[16s + j], j = 0…15  bit  7 6 5 4          3 2 1 0
//     (s = 0…7, the sub-block)        q[32s+16+j]      q[32s+j]
//
//     y[i] = (d * scale[s]) * kIq4Values[q[i]],  s = i / 32
#pragma pack(push, 1)
struct BlockIQ4_XS {
    static constexpr uint32_t kElements = 256;
    uint16_t d;             // half: unit of the scales
    uint16_t scales_high;   // bits 5…4 of each scale plus 32
    uint8_t scales_low[4];  // bits 3…0 of each scale plus 32
    uint8_t quants[128];    // 4 bits each
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ4_XS) == 136 && alignof(BlockIQ4_XS) == 1);
static_assert(offsetof(BlockIQ4_XS, scales_high) == 2 && offsetof(BlockIQ4_XS, scales_low) == 4 &&
              offsetof(BlockIQ4_XS, quants) == 8);

/// The 8 scales, each -32…31.
[[maybe_unused]] static inline void unpack_scales(const BlockIQ4_XS& block, int8_t scale[8]) {
    for (int s = 0; s < 8; ++s) {
        const int low = (block.scales_low[s / 2] >> (4 * (s % 2))) & 0xf;
        const int high = (block.scales_high >> (2 * s)) & 3;
        scale[s] = int8_t((low | (high << 4)) - 32);
    }
}

/// The inverse. Every scale must lie in -32…31.
[[maybe_unused]] static inline void pack_scales(const int8_t scale[8], BlockIQ4_XS& block) {
    uint16_t high = 0;
    for (int s = 0; s < 8; ++s) high = uint16_t(high | (((scale[s] + 32) >> 4) << (2 * s)));
    block.scales_high = high;
    for (int k = 0; k < 4; ++k) {
        const int even = (scale[2 * k] + 32) & 0xf;
        const int odd = (scale[2 * k + 1] + 32) & 0xf;
        block.scales_low[k] = uint8_t(even | (odd << 4));
    }
}

[[maybe_unused]] static inline void decode(const BlockIQ4_XS& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    int8_t scales[8];
    unpack_scales(block, scales);
    for (int s = 0; s < 8; ++s) {
        const float scale = d * float(scales[s]);
        const uint8_t* quants = block.quants + 16 * s;
        for (int j = 0; j < 16; ++j) {
            y[32 * s + j] = scale * float(kIq4Values[quants[j] & 0xf]);
            y[32 * s + 16 + j] = scale * float(kIq4Values[quants[j] >> 4]);
        }
    }
}

}  // namespace ingot

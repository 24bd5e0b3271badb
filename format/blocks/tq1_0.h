#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// TQ1_0: 256 ternary elements in 54 bytes, 1.6875 bits each. One scale; five ternary digits share a byte.
//
//     byte  0                                     48         52       54
//           ├─────────────────────────────────────┼──────────┼────────┤
//           │ fives[48]                           │ fours[4] │ d      │
//           └─────────────────────────────────────┴──────────┴────────┘
//
//     With t = q + 1, a digit 0…2:
//     fives[m],      m = 0…31   five digits: t[m], t[32+m], t[64+m], t[96+m], t[128+m]
//     fives[32 + m], m = 0…15   five digits: t[160+m], t[176+m], t[192+m], t[208+m], t[224+m]
//     fours[m],      m = 0…3    four digits: t[240+m], t[244+m], t[248+m], t[252+m]
//
//     A byte b is a fraction of 256, b = ⌈256 * 0.t0 t1 t2 t3 t4⌉ in base 3: multiplying by 3 moves a digit
//     in front of the point, and what lies behind it stays in 8 bits.
//     digit n = (((b * 3^n) mod 256) * 3) / 256
//
//     y[i] = d * q[i]
#pragma pack(push, 1)
struct BlockTQ1_0 {
    static constexpr uint32_t kElements = 256;
    uint8_t fives[48];  // the first 240 elements
    uint8_t fours[4];   // the last 16
    uint16_t d;         // half: scale
};
#pragma pack(pop)
static_assert(sizeof(BlockTQ1_0) == 54 && alignof(BlockTQ1_0) == 1);
static_assert(offsetof(BlockTQ1_0, fours) == 48 && offsetof(BlockTQ1_0, d) == 52);

[[maybe_unused]] static inline void decode(const BlockTQ1_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    static constexpr uint8_t kPowersOf3[5] = {1, 3, 9, 27, 81};
    const auto value = [d](uint8_t packed, int n) {
        const uint8_t rest = uint8_t(packed * kPowersOf3[n]);
        return d * float(((rest * 3) >> 8) - 1);
    };
    for (int n = 0; n < 5; ++n) {
        for (int m = 0; m < 32; ++m) y[32 * n + m] = value(block.fives[m], n);
        for (int m = 0; m < 16; ++m) y[160 + 16 * n + m] = value(block.fives[32 + m], n);
    }
    for (int n = 0; n < 4; ++n) {
        for (int m = 0; m < 4; ++m) y[240 + 4 * n + m] = value(block.fours[m], n);
    }
}

}  // namespace ingot

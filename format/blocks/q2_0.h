#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

// Q2_0: 64 elements in 18 bytes, 2.25 bits each. One scale, quants 0…3 that stand for -1…2.
//
//     byte  0        2                           18
//           ├────────┼────────────────────────────┤
//           │ d      │ quants[16]                 │
//           └────────┴────────────────────────────┘
//
//     quants[k], k = 0…15       bit  7 6        5 4        3 2        1 0
//                                    q[4k+3]    q[4k+2]    q[4k+1]    q[4k]
//
//     y[i] = d * (q[i] - 1)
#pragma pack(push, 1)
struct BlockQ2_0 {
    static constexpr uint32_t kElements = 64;
    uint16_t d;          // half: scale
    uint8_t quants[16];  // 2 bits each
};
#pragma pack(pop)
static_assert(sizeof(BlockQ2_0) == 18 && alignof(BlockQ2_0) == 1);
static_assert(offsetof(BlockQ2_0, quants) == 2);

[[maybe_unused]] static inline void decode(const BlockQ2_0& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int i = 0; i < 64; ++i) y[i] = d * float(((block.quants[i / 4] >> (2 * (i % 4))) & 3) - 1);
}

}  // namespace ingot

#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

/// The values that the quants 0…15 of IQ4_NL and IQ4_XS stand for: not evenly spaced ("non-linear"), denser
/// around zero, where weights are.
[[maybe_unused]] static constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                           1,    13,   25,  38,  53,  69,  89,  113};

// IQ4_NL: 32 elements in 18 bytes, 4.5 bits each. One scale, quants 0…15 that are looked up in kIq4Values.
//
//     byte  0        2                           18
//           ├────────┼────────────────────────────┤
//           │ d      │ quants[16]                 │
//           └────────┴────────────────────────────┘
//
//     quants[j], j = 0…15       bit  7 6 5 4       3 2 1 0
//                                    q[j+16]       q[j]
//
//     y[i] = d * kIq4Values[q[i]]
#pragma pack(push, 1)
struct BlockIQ4_NL {
    static constexpr uint32_t kElements = 32;
    uint16_t d;          // half: scale
    uint8_t quants[16];  // low nibbles: elements 0…15; high nibbles: elements 16…31
};
#pragma pack(pop)
static_assert(sizeof(BlockIQ4_NL) == 18 && alignof(BlockIQ4_NL) == 1);
static_assert(offsetof(BlockIQ4_NL, quants) == 2);

[[maybe_unused]] static inline void decode(const BlockIQ4_NL& block, float* __restrict y) {
    const float d = half_to_float(block.d);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * float(kIq4Values[block.quants[j] & 0xf]);
        y[j + 16] = d * float(kIq4Values[block.quants[j] >> 4]);
    }
}

}  // namespace ingot

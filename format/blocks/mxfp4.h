#pragma once
#include <cstddef>
#include <cstdint>

#include "format/half.h"

namespace ingot {

/// Twice the values of the 4-bit floats of MXFP4 and NVFP4 (1 sign, 2 exponent, 1 fraction bit), so that they
/// are integers. Minus zero is zero.
[[maybe_unused]] static constexpr int8_t kFp4Doubled[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                            0, -1, -2, -3, -4, -6, -8, -12};

// MXFP4: 32 elements in 17 bytes, 4.25 bits each. 4-bit floats with a power of two as their scale.
//
//     byte  0          1                           17
//           ├──────────┼────────────────────────────┤
//           │ exponent │ floats[16]                 │
//           └──────────┴────────────────────────────┘
//
//     floats[j], j = 0…15       bit  7 6 5 4       3 2 1 0
//                                    f[j+16]       f[j]
//
//     y[i] = 2^(exponent - 128) * kFp4Doubled[f[i]]
#pragma pack(push, 1)
struct BlockMXFP4 {
    static constexpr uint32_t kElements = 32;
    uint8_t exponent;    // of the scale, biased by 127; by one more as kFp4Doubled are doubled
    uint8_t floats[16];  // low nibbles: elements 0…15; high nibbles: elements 16…31
};
#pragma pack(pop)
static_assert(sizeof(BlockMXFP4) == 17 && alignof(BlockMXFP4) == 1);
static_assert(offsetof(BlockMXFP4, floats) == 1);

[[maybe_unused]] static inline void decode(const BlockMXFP4& block, float* __restrict y) {
    // 2^-128 and 2^-127 are subnormal floats.
    const uint32_t e = block.exponent;
    const float scale = float_of(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    for (int j = 0; j < 16; ++j) {
        y[j] = scale * float(kFp4Doubled[block.floats[j] & 0xf]);
        y[j + 16] = scale * float(kFp4Doubled[block.floats[j] >> 4]);
    }
}

}  // namespace ingot

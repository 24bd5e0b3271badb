#pragma once
#include <cstddef>
#include <cstdint>

#include "format/blocks/mxfp4.h"  // kFp4Doubled
#include "format/half.h"

namespace ingot {

// NVFP4: 64 elements in 36 bytes, 4.5 bits each. Four sub-blocks of 16 4-bit floats; each sub-block has an
// unsigned 8-bit float as its scale.
//
//     byte  0           4                                36
//           ├───────────┼─────────────────────────────────┤
//           │ scales[4] │ floats[32]                      │
//           └───────────┴─────────────────────────────────┘
//
//     scales[s], s = 0…3         bit  7         6 5 4 3       2 1 0
//                                     unused    exponent e    fraction m
//
//     floats[8s + j], j = 0…7    bit  7 6 5 4       3 2 1 0
//                                     f[16s+8+j]    f[16s+j]
//
//     y[i] = scale[s] * kFp4Doubled[f[i]],  s = i / 16
//     scale[s] = 2^(e - 8) * (1 + m / 8) where e > 0, 2^-10 * m where e = 0, and 0 for the byte 7f
#pragma pack(push, 1)
struct BlockNVFP4 {
    static constexpr uint32_t kElements = 64;
    uint8_t scales[4];   // UE4M3 floats
    uint8_t floats[32];  // per sub-block 8 bytes: low nibbles its first 8 elements, high nibbles its last 8
};
#pragma pack(pop)
static_assert(sizeof(BlockNVFP4) == 36 && alignof(BlockNVFP4) == 1);
static_assert(offsetof(BlockNVFP4, floats) == 4);

/// Half the value of an UE4M3 float, as kFp4Doubled are doubled. The standard's NaN, 7f, gives 0.
[[maybe_unused]] static inline float halved_ue4m3(uint8_t bits) {
    if (bits == 0x7f) return 0.0f;
    const uint32_t e = (bits >> 3) & 0xf;
    const uint32_t m = bits & 7;
    return e == 0 ? float(m) * 0x1p-10f : float_of(((e + 127 - 8) << 23) | (m << 20));
}

[[maybe_unused]] static inline void decode(const BlockNVFP4& block, float* __restrict y) {
    for (int s = 0; s < 4; ++s) {
        const float scale = halved_ue4m3(block.scales[s]);
        for (int j = 0; j < 8; ++j) {
            const uint8_t floats = block.floats[8 * s + j];
            y[16 * s + j] = scale * float(kFp4Doubled[floats & 0xf]);
            y[16 * s + 8 + j] = scale * float(kFp4Doubled[floats >> 4]);
        }
    }
}

}  // namespace ingot

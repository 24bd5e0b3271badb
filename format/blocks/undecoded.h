#pragma once
// Layouts that Ingot lists and copies but does not decode yet. The structs give the type table its sizes;
// bits are numbered from the lowest. `scale` is an F16 unless said otherwise. A layout that gains a decoder
// moves to a header of its own.
#include <cstdint>

namespace ingot {

/// 32 elements in 36 bytes. Never in files: the partner of 4- and 5-bit weights in dot products.
struct BlockQ8_1 {
    static constexpr uint32_t kElements = 32;
    uint16_t scale;
    uint16_t sum;       // F16: scale * sum of quants
    int8_t quants[32];  // x = scale * quant
};
static_assert(sizeof(BlockQ8_1) == 36);

/// 256 elements in 292 bytes. Never in files: the partner of K-quants in dot products.
struct BlockQ8_K {
    static constexpr uint32_t kElements = 256;
    float scale;
    int8_t quants[256];  // x = scale * quant
    int16_t sums[16];    // of each 16 quants
};
static_assert(sizeof(BlockQ8_K) == 292);

/// 256 elements in 50 bytes, 1.5625 bits each.
struct BlockIQ1_S {
    static constexpr uint32_t kElements = 256;
    uint16_t scale;
    uint8_t grid_low[32];  // grid index of 8 elements, bits 0-7
    uint16_t
        grid_high[8];  // per 32 elements: 4 x 3 bits of grid index (8-10), 3 bits of scale, sign of shift
};
static_assert(sizeof(BlockIQ1_S) == 50);

/// 256 elements in 56 bytes, 1.75 bits each. The F16 scale is spread over the top 4 bits of the scale words.
struct BlockIQ1_M {
    static constexpr uint32_t kElements = 256;
    uint8_t grid_low[32];   // grid index of 8 elements, bits 0-7
    uint8_t grid_high[16];  // per 8 elements a nibble: 3 bits of grid index (8-10), sign of shift
    uint8_t scales[8];      // four 16-bit words: 4 x 3 bits of sub-block scale, 4 bits of the block's scale
};
static_assert(sizeof(BlockIQ1_M) == 56);

/// 256 elements in 66 bytes, 2.0625 bits each.
struct BlockIQ2_XXS {
    static constexpr uint32_t kElements = 256;
    uint16_t scale;
    uint16_t words[32];  // per 32 elements 64 bits: 4 x 8 bits grid index, 4 x 7 bits signs, 4 bits scale
};
static_assert(sizeof(BlockIQ2_XXS) == 66);

/// 256 elements in 74 bytes, 2.3125 bits each.
struct BlockIQ2_XS {
    static constexpr uint32_t kElements = 256;
    uint16_t scale;
    uint16_t words[32];  // per 8 elements: 9 bits grid index, 7 bits signs
    uint8_t scales[8];   // per 32 elements: two 4-bit scales, low nibble for the first 16
};
static_assert(sizeof(BlockIQ2_XS) == 74);

/// 256 elements in 82 bytes, 2.5625 bits each.
struct BlockIQ2_S {
    static constexpr uint32_t kElements = 256;
    uint16_t scale;
    uint8_t grid_low[32];  // grid index of 8 elements, bits 0-7
    uint8_t signs[32];     // one bit per element, set for negative
    uint8_t grid_high[8];  // per 32 elements: 4 x 2 bits of grid index (8-9)
    uint8_t scales[8];     // as in IQ2_XS
};
static_assert(sizeof(BlockIQ2_S) == 82);

/// 256 elements in 98 bytes, 3.0625 bits each.
struct BlockIQ3_XXS {
    static constexpr uint32_t kElements = 256;
    uint16_t scale;
    uint8_t grid[64];          // grid index of 4 elements
    uint8_t signs_scales[32];  // per 32 elements 32 bits: 4 x 7 bits signs, 4 bits scale
};
static_assert(sizeof(BlockIQ3_XXS) == 98);

/// 256 elements in 110 bytes, 3.4375 bits each.
struct BlockIQ3_S {
    static constexpr uint32_t kElements = 256;
    uint16_t scale;
    uint8_t grid_low[64];  // grid index of 4 elements, bits 0-7
    uint8_t grid_high[8];  // one bit per 4 elements: bit 8 of the grid index
    uint8_t signs[32];     // one bit per element, set for negative
    uint8_t scales[4];     // per 64 elements: two 4-bit scales, low nibble for the first 32
};
static_assert(sizeof(BlockIQ3_S) == 110);

}  // namespace ingot

// Each layout by hand: a few bytes are set, all others are zero, and the values follow from the diagram.
// SPEC.md's examples (spec_blocks.cpp) cover every bit; these say which byte is to blame.
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/mxfp4.h"
#include "format/blocks/nvfp4.h"
#include "format/blocks/q1_0.h"
#include "format/blocks/q2_0.h"
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "format/blocks/q8_0.h"
#include "format/blocks/tq1_0.h"
#include "format/blocks/tq2_0.h"
#include "format/decode.h"
#include "tests/catch.h"

using namespace ingot;

namespace {

constexpr uint16_t kHalf1 = 0x3c00;
constexpr uint16_t kHalf2 = 0x4000;
constexpr uint16_t kHalfQuarter = 0x3400;

template <typename Block>
std::vector<float> values_of(const Block& block) {
    std::vector<float> values(Block::kElements);
    decode(block, values.data());
    return values;
}

/// `background` everywhere but at the places given.
std::vector<float> all_but(size_t n, float background, std::vector<std::pair<size_t, float>> places) {
    std::vector<float> values(n, background);
    for (auto [place, value] : places) values[place] = value;
    return values;
}

}  // namespace

TEST_CASE("Q4_0: low nibbles are elements 0 to 15, high nibbles 16 to 31, and 8 is zero") {
    BlockQ4_0 block{};
    block.d = kHalf2;
    std::memset(block.quants, 0x88, sizeof(block.quants));
    block.quants[5] = 0xf1;
    CHECK(values_of(block) == all_but(32, 0, {{5, -14}, {21, 14}}));
}

TEST_CASE("Q4_1: the minimum is added") {
    BlockQ4_1 block{};
    block.d = kHalf2;
    block.min = kHalfQuarter;
    block.quants[5] = 0xf1;
    CHECK(values_of(block) == all_but(32, 0.25f, {{5, 2.25f}, {21, 30.25f}}));
}

TEST_CASE("Q5_0: the fifth bit of element i is bit i of high_bits, and 16 is zero") {
    BlockQ5_0 block{};
    block.d = kHalf1;
    std::memset(block.high_bits, 0xff, sizeof(block.high_bits));
    block.high_bits[1] = 0xfe;  // element 8
    block.high_bits[3] = 0x7f;  // element 31
    block.quants[8] = 0x03;
    block.quants[15] = 0x2f;
    CHECK(values_of(block) == all_but(32, 0, {{8, 3 - 16}, {15, 15}, {31, 2 - 16}}));
}

TEST_CASE("Q5_1: fifth bits as in Q5_0, the minimum is added") {
    BlockQ5_1 block{};
    block.d = kHalf2;
    block.min = kHalf1;
    block.high_bits[1] = 0x01;  // element 8
    block.high_bits[2] = 0x10;  // element 20
    block.quants[8] = 0x03;
    block.quants[4] = 0x70;
    CHECK(values_of(block) == all_but(32, 1, {{8, 2 * 19 + 1}, {20, 2 * 23 + 1}}));
}

TEST_CASE("Q8_0: quants are signed bytes") {
    BlockQ8_0 block{};
    block.d = kHalfQuarter;
    block.quants[0] = -128;
    block.quants[31] = 127;
    CHECK(values_of(block) == all_but(32, 0, {{0, -32}, {31, 31.75f}}));
}

TEST_CASE("Q2_K: a byte holds elements that lie 32 apart, a sub-block's scale is the low nibble") {
    BlockQ2_K block{};
    block.d = kHalf1;
    block.dmin = kHalf2;
    block.scales[0] = 0x01;
    block.scales[2] = 0x02;
    block.scales[4] = 0x03;
    block.scales[6] = 0x54;
    block.scales[15] = 0x0f;
    block.quants[7] = 0xe1;   // from the high bits: 3, 2, 0, 1
    block.quants[63] = 0x40;  // 1 in element 255
    auto expected = all_but(256, 0, {{7, 1}, {32 + 7, 0}, {64 + 7, 2 * 3}, {255, 15}});
    for (size_t i = 96; i < 112; ++i) expected[i] = -10;
    expected[96 + 7] = 3 * 4 - 10;
    CHECK(values_of(block) == expected);
}

TEST_CASE("Q3_K: a set high bit adds 4 to a quant that starts at -4") {
    BlockQ3_K block{};
    block.d = kHalf1;
    const int8_t scales[16] = {1, 0, 0, 0, -5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 31};
    pack_scales(scales, block.scales);
    block.quants[3] = 0x21;     // element 3: 1, element 64 + 3: 2
    block.high_bits[3] = 0x04;  // element 64 + 3
    block.quants[63] = 0xc0;    // element 255: 3
    block.high_bits[31] = 0x80;
    auto expected = all_but(256, 0, {});
    for (size_t i = 0; i < 16; ++i) expected[i] = -4;
    for (size_t i = 64; i < 80; ++i) expected[i] = 20;
    for (size_t i = 240; i < 256; ++i) expected[i] = -4 * 31;
    expected[3] = -3;
    expected[67] = -5 * 2;
    expected[255] = 3 * 31;
    CHECK(values_of(block) == expected);
}

TEST_CASE("Q4_K: low nibbles are one sub-block, high nibbles the next") {
    BlockQ4_K block{};
    block.d = kHalf1;
    block.dmin = kHalf2;
    const uint8_t scales[8] = {0, 0, 3, 5, 0, 0, 0, 63};
    const uint8_t mins[8] = {0, 0, 0, 1, 0, 0, 0, 33};
    pack_scales(scales, mins, block.scales);
    block.quants[32 + 9] = 0x21;  // elements 64 + 9 and 96 + 9
    auto expected = all_but(256, 0, {{64 + 9, 3}});
    for (size_t i = 96; i < 128; ++i) expected[i] = -2;
    expected[96 + 9] = 2 * 5 - 2;
    for (size_t i = 224; i < 256; ++i) expected[i] = -66;
    CHECK(values_of(block) == expected);
}

TEST_CASE("Q5_K: the bit number within high_bits is the sub-block") {
    BlockQ5_K block{};
    block.d = kHalf2;
    block.dmin = kHalf1;
    const uint8_t scales[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const uint8_t mins[8] = {0, 0, 0, 0, 0, 0, 7, 0};
    pack_scales(scales, mins, block.scales);
    block.high_bits[9] = 0x48;        // sub-blocks 3 and 6
    block.quants[32 * 3 + 9] = 0x21;  // sub-blocks 6 and 7
    auto expected = all_but(256, 0, {{96 + 9, 32}, {224 + 9, 4}});
    for (size_t i = 192; i < 224; ++i) expected[i] = -7;
    expected[192 + 9] = 2 * 17 - 7;
    CHECK(values_of(block) == expected);
}

TEST_CASE("Q6_K: four low bits in quants, two high bits in high_bits, and 32 is zero") {
    BlockQ6_K block{};
    block.d = kHalf1;
    for (int s = 0; s < 16; ++s) block.scales[s] = 1;
    block.scales[13] = -128;
    std::memset(block.high_bits, 0xaa, sizeof(block.high_bits));  // 2 everywhere: u = 32
    block.quants[64 + 21] = 0x5f;                                 // elements 128 + 21 and 128 + 64 + 21
    block.high_bits[32 + 21] = 0xb8;                              // from the high bits: 2, 3, 2, 0
    auto expected = all_but(256, 0, {{128 + 21, 15 - 32}, {128 + 64 + 21, (5 + 48 - 32) * -128}});
    CHECK(values_of(block) == expected);
}

TEST_CASE("IQ4_NL: quants are places in a table") {
    BlockIQ4_NL block{};
    block.d = kHalf2;
    std::memset(block.quants, 0x88, sizeof(block.quants));
    block.quants[5] = 0xf1;
    CHECK(values_of(block) == all_but(32, 2, {{5, -208}, {21, 226}}));
}

TEST_CASE("IQ4_XS: each sub-block lies as in IQ4_NL, with a scale of its own") {
    BlockIQ4_XS block{};
    block.d = kHalf1;
    const int8_t scales[8] = {0, 0, 0, -32, 0, 0, 0, 31};
    pack_scales(scales, block);
    std::memset(block.quants, 0x88, sizeof(block.quants));
    block.quants[16 * 3 + 5] = 0xf1;
    auto expected = all_but(256, 0, {});
    for (size_t i = 96; i < 128; ++i) expected[i] = -32;
    for (size_t i = 224; i < 256; ++i) expected[i] = 31;
    expected[96 + 5] = -32 * -104;
    expected[96 + 21] = -32 * 113;
    CHECK(values_of(block) == expected);
}

TEST_CASE("TQ1_0: five digits of base 3 in a byte, the most significant one first") {
    BlockTQ1_0 block{};
    block.d = kHalf2;
    // 0.21000 and 0.00012 in base 3, as fractions of 256, rounded up.
    block.fives[3] = (2 * 81 + 1 * 27) * 256 / 243 + 1;
    block.fives[32 + 3] = (1 * 3 + 2) * 256 / 243 + 1;
    block.fours[1] = 2 * 3 * 256 / 243 + 1;  // 0.0002
    CHECK(values_of(block) ==
          all_but(256, -2, {{3, 2}, {35, 0}, {160 + 48 + 3, 0}, {160 + 64 + 3, 2}, {253, 2}}));
}

TEST_CASE("TQ2_0: a byte holds elements that lie 32 apart, and 1 is zero") {
    BlockTQ2_0 block{};
    block.d = kHalf2;
    std::memset(block.quants, 0x55, sizeof(block.quants));
    block.quants[32 + 7] = 0x92;  // from the high bits: 2, 1, 0, 2
    CHECK(values_of(block) == all_but(256, 0, {{128 + 7, 2}, {160 + 7, -2}, {224 + 7, 2}}));
}

TEST_CASE("MXFP4: the scale is a power of two, down to a subnormal one") {
    BlockMXFP4 block{};
    block.floats[5] = 0xf1;
    for (int exponent = 0; exponent < 256; ++exponent) {
        block.exponent = uint8_t(exponent);
        const float half_scale = std::ldexp(1.0f, exponent - 128);
        REQUIRE(values_of(block) == all_but(32, 0, {{5, half_scale}, {21, -12 * half_scale}}));
    }
}

TEST_CASE("NVFP4: each 16 elements have an 8-bit float as their scale, whose NaN is zero") {
    BlockNVFP4 block{};
    for (int s = 0; s < 4; ++s) block.floats[8 * s + 5] = 0xf1;
    block.scales[0] = 0x38;  // exponent 7 of bias 7: 1
    block.scales[1] = 0x07;  // subnormal: 7/8 * 2^-6
    block.scales[2] = 0x7f;
    block.scales[3] = 0x7e;  // 1.75 * 2^8
    CHECK(values_of(block) == all_but(64, 0,
                                      {{5, 0.5f},
                                       {13, -6},
                                       {16 + 5, 0.875f * 0x1p-7f},
                                       {16 + 13, 0.875f * 0x1p-6f * -6},
                                       {48 + 5, 224},
                                       {48 + 13, -2688}}));
}

TEST_CASE("Q1_0: a set bit is plus d, a clear one minus d") {
    BlockQ1_0 block{};
    block.d = kHalf2;
    block.signs[2] = 0x21;
    CHECK(values_of(block) == all_but(128, -2, {{16, 2}, {21, 2}}));
}

TEST_CASE("Q2_0: a byte holds four neighbours, the first in its low bits") {
    BlockQ2_0 block{};
    block.d = kHalf2;
    std::memset(block.quants, 0x55, sizeof(block.quants));
    block.quants[3] = 0xd8;  // from the low bits: 0, 2, 1, 3
    CHECK(values_of(block) == all_but(64, 0, {{12, -2}, {13, 2}, {15, 4}}));
}

TEST_CASE("Q4_K: scales and minimums survive packing, all pairs at every place") {
    for (int place = 0; place < 8; ++place) {
        for (int a = 0; a < 64; ++a) {
            for (int b = 0; b < 64; ++b) {
                uint8_t scale[8], min[8], packed[12], scale_back[8], min_back[8];
                for (int s = 0; s < 8; ++s) {
                    scale[s] = uint8_t((37 * s + b) % 64);
                    min[s] = uint8_t((29 * s + a) % 64);
                }
                scale[place] = uint8_t(a);
                min[place] = uint8_t(b);
                pack_scales(scale, min, packed);
                unpack_scales(packed, scale_back, min_back);
                if (std::memcmp(scale, scale_back, 8) != 0 || std::memcmp(min, min_back, 8) != 0) {
                    FAIL("place " << place << " scale " << a << " minimum " << b);
                }
            }
        }
    }
}

TEST_CASE("Q4_K: scales are packed as the diagram says") {
    const uint8_t scale[8] = {0x01, 0x02, 0x03, 0x04, 0x15, 0x26, 0x37, 0x08};
    const uint8_t min[8] = {0x3f, 0x00, 0x2a, 0x15, 0x3a, 0x0b, 0x1c, 0x2d};
    uint8_t packed[12];
    pack_scales(scale, min, packed);
    const uint8_t expected[12] = {0x41, 0x82, 0xc3, 0x04, 0xff, 0x00, 0x6a, 0x95, 0xa5, 0xb6, 0xc7, 0xd8};
    CHECK(std::vector<int>(packed, packed + 12) == std::vector<int>(expected, expected + 12));
}

TEST_CASE("Q3_K: scales survive packing, all pairs at every two places") {
    for (int first = 0; first < 16; ++first) {
        const int second = (first + 5) % 16;
        for (int a = -32; a < 32; ++a) {
            for (int b = -32; b < 32; ++b) {
                int8_t scale[16], back[16];
                uint8_t packed[12];
                for (int s = 0; s < 16; ++s) scale[s] = int8_t((37 * s + a + b + 64) % 64 - 32);
                scale[first] = int8_t(a);
                scale[second] = int8_t(b);
                pack_scales(scale, packed);
                unpack_scales(packed, back);
                if (std::memcmp(scale, back, 16) != 0) FAIL("place " << first << ": " << a << ", " << b);
            }
        }
    }
}

TEST_CASE("IQ4_XS: scales survive packing, all values at every place") {
    for (int place = 0; place < 8; ++place) {
        for (int a = -32; a < 32; ++a) {
            BlockIQ4_XS block{};
            int8_t scale[8], back[8];
            for (int s = 0; s < 8; ++s) scale[s] = int8_t((37 * s + a + 32) % 64 - 32);
            scale[place] = int8_t(a);
            pack_scales(scale, block);
            unpack_scales(block, back);
            if (std::memcmp(scale, back, 8) != 0) FAIL("place " << place << ": " << a);
        }
    }
}

TEST_CASE("random blocks decode to what the reference implementation of GGUF makes of them") {
    // From tests/interop/decode_checksums.py: gguf's dequantize of the same bytes.
    const std::pair<TensorType, uint64_t> reference[] = {
        {TensorType::Q4_0, 0xc805bead2e92e325},   {TensorType::Q4_1, 0xf14cd1c8670f058e},
        {TensorType::Q5_0, 0xf39307eb77630d25},   {TensorType::Q5_1, 0x537cb666d76e5460},
        {TensorType::Q8_0, 0x4b46e178d368ebe5},   {TensorType::Q2_K, 0xcde01cbd4565e751},
        {TensorType::Q3_K, 0x3d7463a1cfd5a565},   {TensorType::Q4_K, 0xa6ba136d6b8feff5},
        {TensorType::Q5_K, 0x01e9f4b7616ba440},   {TensorType::Q6_K, 0x3aa6de6a6238d0e1},
        {TensorType::IQ4_NL, 0xf2f2ceb223d593e5}, {TensorType::IQ4_XS, 0x051a6a68c84fe92d},
        {TensorType::TQ1_0, 0x89ba24226f126325},  {TensorType::TQ2_0, 0x114bd9ab9efbe325},
        {TensorType::MXFP4, 0x21c9f51885472325},  {TensorType::NVFP4, 0x8dc93cdc95702325},
    };
    constexpr uint64_t kBlocks = 512;
    for (const auto& [type, expected] : reference) {
        const TensorTypeInfo& layout = info(type);
        std::vector<uint8_t> bytes(kBlocks * layout.block_bytes);
        uint32_t state = uint32_t(type);
        for (uint8_t& byte : bytes) {
            state = state * 1664525u + 1013904223u;
            byte = uint8_t(state >> 24);
        }
        std::vector<float> values(kBlocks * layout.block_elements);
        decode_row(type, bytes.data(), values.data(), values.size());

        uint64_t checksum = 0xcbf29ce484222325;
        for (float value : values) {
            const uint32_t word = std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value);
            checksum = (checksum ^ word) * 0x100000001b3;
        }
        INFO(layout.name);
        CHECK(checksum == expected);
    }
}

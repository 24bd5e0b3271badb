#include "runtime/gpu/planes.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/mxfp4.h"
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
#include "format/half.h"

namespace ingot::runtime::gpu {
namespace {

constexpr size_t kRowAlignment = 16;  // bytes: one load

#define INGOT_FIELD(Block, member) \
    { offsetof(Block, member), sizeof(Block::member) }

constexpr Field kQ4_0[] = {INGOT_FIELD(BlockQ4_0, quants), INGOT_FIELD(BlockQ4_0, d)};
constexpr Field kQ4_1[] = {INGOT_FIELD(BlockQ4_1, quants), {offsetof(BlockQ4_1, d), 4}};
constexpr Field kQ5_0[] = {INGOT_FIELD(BlockQ5_0, quants), INGOT_FIELD(BlockQ5_0, high_bits),
                           INGOT_FIELD(BlockQ5_0, d)};
constexpr Field kQ5_1[] = {
    INGOT_FIELD(BlockQ5_1, quants), INGOT_FIELD(BlockQ5_1, high_bits), {offsetof(BlockQ5_1, d), 4}};
constexpr Field kQ8_0[] = {
    {offsetof(BlockQ8_0, quants), 16}, {offsetof(BlockQ8_0, quants) + 16, 16}, INGOT_FIELD(BlockQ8_0, d)};
constexpr Field kQ2_K[] = {
    INGOT_FIELD(BlockQ2_K, quants), INGOT_FIELD(BlockQ2_K, scales), {offsetof(BlockQ2_K, d), 4}};
constexpr Field kQ3_K[] = {INGOT_FIELD(BlockQ3_K, quants), INGOT_FIELD(BlockQ3_K, high_bits),
                           INGOT_FIELD(BlockQ3_K, scales), INGOT_FIELD(BlockQ3_K, d)};
constexpr Field kQ4_K[] = {INGOT_FIELD(BlockQ4_K, quants), {0, 16}};
constexpr Field kQ5_K[] = {INGOT_FIELD(BlockQ5_K, quants), INGOT_FIELD(BlockQ5_K, high_bits), {0, 16}};
constexpr Field kQ6_K[] = {INGOT_FIELD(BlockQ6_K, quants), INGOT_FIELD(BlockQ6_K, high_bits),
                           INGOT_FIELD(BlockQ6_K, scales), INGOT_FIELD(BlockQ6_K, d)};
constexpr Field kIQ4_NL[] = {INGOT_FIELD(BlockIQ4_NL, quants), INGOT_FIELD(BlockIQ4_NL, d)};
constexpr Field kIQ4_XS[] = {INGOT_FIELD(BlockIQ4_XS, quants), {0, 8}};
constexpr Field kMXFP4[] = {INGOT_FIELD(BlockMXFP4, floats), INGOT_FIELD(BlockMXFP4, exponent)};
#undef INGOT_FIELD

// As many activations share a scale as on the CPU, so that both compute with the same integers.
#define INGOT_KERNELS(name)                                                               \
    TensorType::name, Kernel::embed_##name, Kernel::matvec_##name, Kernel::matmul_##name, \
        Kernel::tile_##name, Kernel::wide_##name
#define INGOT_NUMBERS(name) \
    { INGOT_KERNELS(name), Kernel::warpgroup_##name, Kernel::wide_warpgroup_##name, 2, kByBit0, {}, {}, 0 }
#define INGOT_BLOCKS(name, order, quant, min_quant, n_shared)                                   \
    {                                                                                           \
        INGOT_KERNELS(name), Kernel::warpgroup_##name, Kernel::wide_warpgroup_##name, 1, order, \
            {offsetof(Block##name, d), quant, min_quant}, k##name, n_shared                     \
    }
// The largest quant, by the largest scale of 16 or 32 weights where there are such; likewise of mins.
constexpr Layout kLayouts[] = {
    {INGOT_KERNELS(F32), {}, {}, 0, kAsTheyAre, {}, {}, 0},
    INGOT_NUMBERS(F16),
    INGOT_NUMBERS(BF16),
    INGOT_BLOCKS(Q4_0, kByBit0, 8, 0, 32),
    INGOT_BLOCKS(Q4_1, kByBit0, 15, 1, 32),
    INGOT_BLOCKS(Q5_0, kByBit0, 16, 0, 32),
    INGOT_BLOCKS(Q5_1, kByBit0, 31, 1, 32),
    INGOT_BLOCKS(Q8_0, kByBit0, 128, 0, 32),
    INGOT_BLOCKS(Q2_K, kByBit1, 3 * 15, 15, 256),
    INGOT_BLOCKS(Q3_K, kByBit1, 4 * 32, 0, 256),
    INGOT_BLOCKS(Q4_K, kByBit1, 15 * 63, 63, 256),
    INGOT_BLOCKS(Q5_K, kByBit1, 31 * 63, 63, 256),
    INGOT_BLOCKS(Q6_K, kByBit2, 32 * 128, 0, 256),
    INGOT_BLOCKS(IQ4_NL, kByBit0, 127, 0, 32),
    INGOT_BLOCKS(IQ4_XS, kByBit0, 127 * 32, 0, 32),
    {INGOT_KERNELS(MXFP4), Kernel::warpgroup_MXFP4, Kernel::wide_warpgroup_MXFP4, 1, kByBit0, {}, kMXFP4, 0},
};
#undef INGOT_KERNELS
#undef INGOT_NUMBERS
#undef INGOT_BLOCKS

template <size_t kBytes>
void copy_fields(const std::byte* from, size_t n_blocks, size_t block_bytes, std::byte* to) {
    for (size_t i = 0; i < n_blocks; ++i) std::memcpy(to + i * kBytes, from + i * block_bytes, kBytes);
}

// A field of every block; sizes that the compiler knows are copied in a register or a few.
void copy_plane(uint32_t field_bytes, const std::byte* from, size_t n_blocks, size_t block_bytes,
                std::byte* to) {
    switch (field_bytes) {
        case 1:
            return copy_fields<1>(from, n_blocks, block_bytes, to);
        case 2:
            return copy_fields<2>(from, n_blocks, block_bytes, to);
        case 4:
            return copy_fields<4>(from, n_blocks, block_bytes, to);
        case 8:
            return copy_fields<8>(from, n_blocks, block_bytes, to);
        case 12:
            return copy_fields<12>(from, n_blocks, block_bytes, to);
        case 16:
            return copy_fields<16>(from, n_blocks, block_bytes, to);
        case 32:
            return copy_fields<32>(from, n_blocks, block_bytes, to);
        case 64:
            return copy_fields<64>(from, n_blocks, block_bytes, to);
        default:
            return copy_fields<128>(from, n_blocks, block_bytes, to);
    }
}

// Of every layout.
static_assert([] {
    for (const Layout& layout : kLayouts) {
        for (const Field& field : layout.fields) {
            if (field.size != 12 && (field.size > 128 || !std::has_single_bit(field.size))) return false;
        }
    }
    return true;
}());

}  // namespace

const Layout* find_layout(TensorType type) {
    for (const Layout& layout : kLayouts) {
        if (layout.type == type) return &layout;
    }
    return nullptr;
}

size_t device_row_bytes(const Layout& layout, int64_t n_in) {
    const size_t bytes = row_bytes(layout.type, uint64_t(n_in));
    return (bytes + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
}

void take_row_apart(const Layout& layout, int64_t n_in, const std::byte* row, std::byte* planes) {
    const size_t n_bytes = row_bytes(layout.type, uint64_t(n_in));
    std::memset(planes + n_bytes, 0, device_row_bytes(layout, n_in) - n_bytes);
    if (layout.fields.empty()) {
        std::memcpy(planes, row, n_bytes);
        return;
    }
    const size_t block_bytes = info(layout.type).block_bytes, n_blocks = n_bytes / block_bytes;
    for (const Field& field : layout.fields) {
        copy_plane(field.size, row + field.offset, n_blocks, block_bytes, planes);
        planes += n_blocks * field.size;
    }
}

float largest_weight(const Layout& layout, int64_t n_in, const std::byte* row) {
    const size_t n_bytes = row_bytes(layout.type, uint64_t(n_in)),
                 block_bytes = info(layout.type).block_bytes;
    if (layout.type == TensorType::MXFP4) {
        uint32_t exponent = 0;  // 6 * 2^(exponent - 127) is the block's largest
        for (size_t at = offsetof(BlockMXFP4, exponent); at < n_bytes; at += block_bytes)
            exponent = std::max(exponent, uint32_t(row[at]));
        return 6 * std::ldexp(1.0f, int(exponent) - 127);
    }
    // Halves without their sign are in the order of their bits.
    constexpr uint16_t kMagnitude = 0x7fff;
    const auto largest = [&](size_t offset) {
        uint16_t bits = 0;
        for (size_t at = offset; at < n_bytes; at += block_bytes) {
            uint16_t half;
            std::memcpy(&half, row + at, sizeof half);
            bits = std::max(bits, uint16_t(half & kMagnitude));
        }
        return half_to_float(bits);
    };
    const Bound& bound = layout.bound;
    float sum = largest(bound.d) * bound.quant;
    if (bound.min_quant != 0) sum += largest(bound.d + sizeof(uint16_t)) * bound.min_quant;
    return sum;
}

float weight_factor(float largest) {
    if (!(largest > 0) || !std::isfinite(largest)) return 1;
    constexpr int kMost = 100;  // a factor, and one over it, are floats
    int exponent = 0;
    std::frexp(largest, &exponent);  // largest < 2^exponent
    return std::ldexp(1.0f, std::clamp(15 - exponent, -kMost, kMost));
}

}  // namespace ingot::runtime::gpu

#include "inspect/magnitudes.h"

#include <algorithm>
#include <cstring>

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

namespace ingot::inspect {

namespace {

constexpr uint64_t kFloatBlock = 64;  // floats that are looked at together

/// Of a float without its sign, as an integer: its exponent and one more, subnormals together; an exponent
/// of ones is infinity's and NaN's.
template <int kExponentBits, int kFractionBits>
Magnitude magnitude_of(uint32_t bits) {
    const uint32_t exponent = bits >> kFractionBits;
    constexpr uint32_t kSpecial = (1u << kExponentBits) - 1;
    return Magnitude(exponent == kSpecial ? kOddMagnitude : exponent + (bits != 0));
}

/// What is so far ahead comes from memory while this is looked at: by itself the processor looks less far.
inline void look_ahead(const void* bytes) {
    constexpr ptrdiff_t kAhead = 16384;
    __builtin_prefetch(static_cast<const std::byte*>(bytes) + kAhead);
}

/// Without their sign floats are ordered as integers; signed ones, whose maximum every processor has.
template <typename Bits, int kExponentBits, int kFractionBits>
void of_floats(const std::byte* source, uint64_t n_blocks, Magnitude* magnitudes) {
    constexpr Bits kUnsigned = Bits(~(Bits(1) << (8 * sizeof(Bits) - 1)));
    for (uint64_t block = 0; block < n_blocks; ++block) {
        look_ahead(source + block * sizeof(Bits) * kFloatBlock);
        if constexpr (sizeof(Bits) * kFloatBlock > 64)
            look_ahead(source + block * sizeof(Bits) * kFloatBlock + 64);
        Bits values[kFloatBlock];
        std::memcpy(values, source + block * sizeof values, sizeof values);
        Bits largest = 0;
        for (const Bits value : values) largest = std::max(largest, Bits(value & kUnsigned));
        magnitudes[block] = magnitude_of<kExponentBits, kFractionBits>(uint32_t(largest));
    }
}

/// Of blocks whose scales are halves, d and perhaps a minimum. All else in a block is an integer.
template <typename Block>
void of_halves(const std::byte* source, uint64_t n_blocks, Magnitude* magnitudes) {
    const auto* blocks = reinterpret_cast<const Block*>(source);
    for (uint64_t i = 0; i < n_blocks; ++i) {
        look_ahead(&blocks[i]);
        uint32_t largest = blocks[i].d & 0x7fff;
        if constexpr (requires(Block block) { block.dmin; })
            largest = std::max<uint32_t>(largest, blocks[i].dmin & 0x7fff);
        if constexpr (requires(Block block) { block.min; })
            largest = std::max<uint32_t>(largest, blocks[i].min & 0x7fff);
        magnitudes[i] = magnitude_of<5, 10>(largest);
    }
}

/// A power of two, which is never zero; times 12, the largest of a code's doubled values, it may leave the
/// floats: 2^(253 - 128) * 12 is more than 2^128.
void of_mxfp4(const std::byte* source, uint64_t n_blocks, Magnitude* magnitudes) {
    const auto* blocks = reinterpret_cast<const BlockMXFP4*>(source);
    for (uint64_t i = 0; i < n_blocks; ++i) {
        const int exponent = blocks[i].exponent;
        magnitudes[i] = exponent >= 253 ? kOddMagnitude : Magnitude(exponent + 1);
    }
}

/// The largest of four floats without sign, of 4 and 3 bits, of which 7f is zero.
void of_nvfp4(const std::byte* source, uint64_t n_blocks, Magnitude* magnitudes) {
    const auto* blocks = reinterpret_cast<const BlockNVFP4*>(source);
    for (uint64_t i = 0; i < n_blocks; ++i) {
        uint32_t largest = 0;
        for (const uint8_t scale : blocks[i].scales)
            if ((scale & 0x7f) != 0x7f) largest = std::max<uint32_t>(largest, scale & 0x7f);
        magnitudes[i] = Magnitude((largest >> 3) + (largest != 0));
    }
}

struct Entry {
    TensorType type;
    MagnitudeReader reader;
};

template <typename Bits, int kExponentBits, int kFractionBits>
constexpr Entry floats(TensorType type) {
    return {type,
            {kFloatBlock, kFloatBlock * sizeof(Bits), true, of_floats<Bits, kExponentBits, kFractionBits>}};
}
template <typename Block>
constexpr Entry halves(TensorType type) {
    return {type, {Block::kElements, sizeof(Block), false, of_halves<Block>}};
}

constexpr Entry kEntries[] = {
    floats<int32_t, 8, 23>(TensorType::F32),
    floats<int16_t, 5, 10>(TensorType::F16),
    floats<int16_t, 8, 7>(TensorType::BF16),
    halves<BlockQ4_0>(TensorType::Q4_0),
    halves<BlockQ4_1>(TensorType::Q4_1),
    halves<BlockQ5_0>(TensorType::Q5_0),
    halves<BlockQ5_1>(TensorType::Q5_1),
    halves<BlockQ8_0>(TensorType::Q8_0),
    halves<BlockQ2_K>(TensorType::Q2_K),
    halves<BlockQ3_K>(TensorType::Q3_K),
    halves<BlockQ4_K>(TensorType::Q4_K),
    halves<BlockQ5_K>(TensorType::Q5_K),
    halves<BlockQ6_K>(TensorType::Q6_K),
    halves<BlockIQ4_NL>(TensorType::IQ4_NL),
    halves<BlockIQ4_XS>(TensorType::IQ4_XS),
    halves<BlockTQ1_0>(TensorType::TQ1_0),
    halves<BlockTQ2_0>(TensorType::TQ2_0),
    halves<BlockQ1_0>(TensorType::Q1_0),
    halves<BlockQ2_0>(TensorType::Q2_0),
    {TensorType::MXFP4, {BlockMXFP4::kElements, sizeof(BlockMXFP4), false, of_mxfp4}},
    {TensorType::NVFP4, {BlockNVFP4::kElements, sizeof(BlockNVFP4), false, of_nvfp4}},
};

}  // namespace

const MagnitudeReader* magnitude_reader(TensorType type) {
    const auto* found = std::ranges::find(kEntries, type, &Entry::type);
    return found == std::end(kEntries) ? nullptr : &found->reader;
}

}  // namespace ingot::inspect

#include "converters/quantize/feedback/block_codec.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "converters/quantize/fit/pack.h"
#include "format/half.h"

namespace ingot::converters::feedback {
namespace {

/// kLow, kLow + 1, …
template <int kLow, int kCodes>
constexpr std::array<int8_t, kCodes> kEvenLevels = [] {
    std::array<int8_t, kCodes> levels{};
    for (int code = 0; code < kCodes; ++code) levels[size_t(code)] = int8_t(kLow + code);
    return levels;
}();

// Integer scales of each layout: their ranges, and where they are.

/// Blocks of 32: units only.
template <class Block, bool kHasMin>
struct Plain {
    static constexpr std::array<int16_t, 2> kScales{1, 1};
    static constexpr std::array<int16_t, 2> kMins{kHasMin ? -1 : 0, kHasMin ? -1 : 0};
    static void unpack(const Block& block, BlockParts& parts) {
        parts.d = block.d;
        parts.scales[0] = 1;
        if constexpr (kHasMin) {
            parts.dmin = block.min;
            parts.mins[0] = -1;
        }
    }
    static void pack(const BlockParts& parts, Block& block) {
        block.d = parts.d;
        if constexpr (kHasMin) block.min = parts.dmin;
    }
};

struct Q2_K {
    static constexpr std::array<int16_t, 2> kScales{0, 15}, kMins{0, 15};
    static void unpack(const BlockQ2_K& block, BlockParts& parts) {
        parts.d = block.d;
        parts.dmin = block.dmin;
        for (size_t g = 0; g < 16; ++g) {
            parts.scales[g] = block.scales[g] & 0xf;
            parts.mins[g] = block.scales[g] >> 4;
        }
    }
    static void pack(const BlockParts& parts, BlockQ2_K& block) {
        block.d = parts.d;
        block.dmin = parts.dmin;
        for (size_t g = 0; g < 16; ++g) block.scales[g] = uint8_t(parts.scales[g] | parts.mins[g] << 4);
    }
};

/// Q4_K and Q5_K.
template <class Block>
struct SixBitPairs {
    static constexpr std::array<int16_t, 2> kScales{0, 63}, kMins{0, 63};
    static void unpack(const Block& block, BlockParts& parts) {
        uint8_t scales[8], mins[8];
        unpack_scales(block.scales, scales, mins);
        parts.d = block.d;
        parts.dmin = block.dmin;
        for (size_t g = 0; g < 8; ++g) {
            parts.scales[g] = scales[g];
            parts.mins[g] = mins[g];
        }
    }
    static void pack(const BlockParts& parts, Block& block) {
        uint8_t scales[8], mins[8];
        for (size_t g = 0; g < 8; ++g) {
            scales[g] = uint8_t(parts.scales[g]);
            mins[g] = uint8_t(parts.mins[g]);
        }
        pack_scales(scales, mins, block.scales);
        block.d = parts.d;
        block.dmin = parts.dmin;
    }
};

/// Q3_K, Q6_K, IQ4_XS: signed scales.
template <class Block, int kGroups, int kLeast, int kMost>
struct SignedScales {
    static constexpr std::array<int16_t, 2> kScales{kLeast, kMost}, kMins{0, 0};
    static void unpack(const Block& block, BlockParts& parts) {
        int8_t scales[kGroups];
        if constexpr (std::is_same_v<Block, BlockQ3_K>) {
            unpack_scales(block.scales, scales);
        } else if constexpr (std::is_same_v<Block, BlockIQ4_XS>) {
            unpack_scales(block, scales);
        } else {
            std::memcpy(scales, block.scales, sizeof scales);
        }
        parts.d = block.d;
        for (size_t g = 0; g < kGroups; ++g) parts.scales[g] = scales[g];
    }
    static void pack(const BlockParts& parts, Block& block) {
        int8_t scales[kGroups];
        for (size_t g = 0; g < kGroups; ++g) scales[g] = int8_t(parts.scales[g]);
        block.d = parts.d;
        if constexpr (std::is_same_v<Block, BlockQ3_K>) {
            pack_scales(scales, block.scales);
        } else if constexpr (std::is_same_v<Block, BlockIQ4_XS>) {
            pack_scales(scales, block);
        } else {
            std::memcpy(block.scales, scales, sizeof scales);
        }
    }
};

template <class Block, class Scales, int kGroups>
BlockCodec codec(TensorType type, const int8_t* levels, int n_codes) {
    BlockCodec result;
    result.type = type;
    result.block_elements = Block::kElements;
    result.n_groups = kGroups;
    result.n_codes = n_codes;
    result.scale_range = Scales::kScales;
    result.min_range = Scales::kMins;
    result.has_dmin = Scales::kMins != std::array<int16_t, 2>{0, 0};
    result.levels = levels;
    result.unpack = [](const std::byte* bytes, BlockParts& parts) {
        Block block;
        std::memcpy(&block, bytes, sizeof block);
        Scales::unpack(block, parts);
    };
    result.pack = [](const BlockParts& parts, std::byte* bytes) {
        Block block{};
        Scales::pack(parts, block);
        fit::pack_codes(parts.codes.data(), block);
        std::memcpy(bytes, &block, sizeof block);
    };
    return result;
}

template <class Block, class Scales, int kGroups, int kLow, int kCodes>
BlockCodec even(TensorType type) {
    return codec<Block, Scales, kGroups>(type, kEvenLevels<kLow, kCodes>.data(), kCodes);
}

const std::array kCodecs = {
    even<BlockQ4_0, Plain<BlockQ4_0, false>, 1, -8, 16>(TensorType::Q4_0),
    even<BlockQ4_1, Plain<BlockQ4_1, true>, 1, 0, 16>(TensorType::Q4_1),
    even<BlockQ5_0, Plain<BlockQ5_0, false>, 1, -16, 32>(TensorType::Q5_0),
    even<BlockQ5_1, Plain<BlockQ5_1, true>, 1, 0, 32>(TensorType::Q5_1),
    even<BlockQ8_0, Plain<BlockQ8_0, false>, 1, -127, 255>(TensorType::Q8_0),
    even<BlockQ2_K, Q2_K, 16, 0, 4>(TensorType::Q2_K),
    even<BlockQ3_K, SignedScales<BlockQ3_K, 16, -32, 31>, 16, -4, 8>(TensorType::Q3_K),
    even<BlockQ4_K, SixBitPairs<BlockQ4_K>, 8, 0, 16>(TensorType::Q4_K),
    even<BlockQ5_K, SixBitPairs<BlockQ5_K>, 8, 0, 32>(TensorType::Q5_K),
    even<BlockQ6_K, SignedScales<BlockQ6_K, 16, -128, 127>, 16, -32, 64>(TensorType::Q6_K),
    codec<BlockIQ4_NL, Plain<BlockIQ4_NL, false>, 1>(TensorType::IQ4_NL, kIq4Values, 16),
    codec<BlockIQ4_XS, SignedScales<BlockIQ4_XS, 8, -32, 31>, 8>(TensorType::IQ4_XS, kIq4Values, 16),
};

}  // namespace

const BlockCodec* find_codec(TensorType type) {
    for (const BlockCodec& codec : kCodecs)
        if (codec.type == type) return &codec;
    return nullptr;
}

BlockGrid::BlockGrid(const BlockCodec& codec, const BlockParts& parts)
    : levels_(codec.levels),
      n_codes_(codec.n_codes),
      is_even_(codec.levels[codec.n_codes - 1] - codec.levels[0] == codec.n_codes - 1),
      group_elements_(codec.group_elements()) {
    const float d = half_to_float(parts.d), dmin = half_to_float(parts.dmin);
    for (size_t g = 0; g < size_t(codec.n_groups); ++g) {
        const float step = d * float(parts.scales[g]);
        groups_[g] = {-(dmin * float(parts.mins[g])), step, step != 0 ? 1 / step : 0};
    }
}

uint8_t BlockGrid::nearest(int element, float value) const {
    const Group& group = groups_[size_t(element / group_elements_)];
    const float level = (value - group.base) * group.inverse_step;
    if (is_even_) {
        const float least = levels_[0], most = levels_[n_codes_ - 1];
        return uint8_t(int(std::nearbyint(std::clamp(level, least, most))) - levels_[0]);
    }
    int code = 0;
    while (code + 1 < n_codes_ && 2 * level > float(levels_[code] + levels_[code + 1])) ++code;
    return uint8_t(code);
}

}  // namespace ingot::converters::feedback

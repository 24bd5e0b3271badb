#pragma once
// An encoded block taken apart: units, integer scales and minimums, quants. The searches in fit/ choose all
// of them at once; error feedback keeps the scales and chooses each quant when its turn comes.
#include <array>
#include <cstddef>
#include <cstdint>

#include "format/tensor_type.h"

namespace ingot::converters::feedback {

inline constexpr int kMostElements = 256;  // of a block
inline constexpr int kMostGroups = 16;     // of a block

/// Element i of group g stands for  d * scale[g] * level(code[i]) - dmin * min[g].
/// Blocks of 32 have one group, whose scale is 1; a minimum that is added counts as -1.
struct BlockParts {
    uint16_t d = 0, dmin = 0;  // halves
    std::array<int16_t, kMostGroups> scales{};
    std::array<int16_t, kMostGroups> mins{};
    std::array<uint8_t, kMostElements> codes{};  // counted from 0
};

/// What tells the layouts apart.
struct BlockCodec {
    TensorType type{};
    int block_elements = 0;
    int n_groups = 0;
    int n_codes = 0;
    std::array<int16_t, 2> scale_range{};  // least and greatest; equal: not stored
    std::array<int16_t, 2> min_range{};    // likewise
    bool has_dmin = false;
    const int8_t* levels = nullptr;                                       // (n_codes), ascending
    void (*unpack)(const std::byte* block, BlockParts& parts) = nullptr;  // all but the codes
    void (*pack)(const BlockParts& parts, std::byte* block) = nullptr;

    int group_elements() const { return block_elements / n_groups; }
};

/// Null for types that are no blocks of scaled quants.
const BlockCodec* find_codec(TensorType type);

/// The values that the codes of a block stand for while its scales stay as they are.
class BlockGrid {
  public:
    BlockGrid(const BlockCodec& codec, const BlockParts& parts);

    float value(int element, uint8_t code) const {
        const Group& group = groups_[size_t(element / group_elements_)];
        return group.base + group.step * float(levels_[code]);
    }
    /// The code whose value is nearest to `value`, a finite number.
    uint8_t nearest(int element, float value) const;

  private:
    struct Group {
        float base, step, inverse_step;  // the last is 0 where the step is
    };
    const int8_t* levels_;
    int n_codes_;
    bool is_even_;  // levels are neighbours
    int group_elements_;
    std::array<Group, kMostGroups> groups_;
};

}  // namespace ingot::converters::feedback

#pragma once
// How large the values of each block can be: what its scales alone tell, or its floats.
#include <cstddef>
#include <cstdint>

#include "format/tensor_type.h"

namespace ingot::inspect {

/// 0 where every scale (of floats: every value) is zero. Otherwise one more with each power of two of the
/// largest scale (value), beginning anywhere.
using Magnitude = uint16_t;
inline constexpr Magnitude kOddMagnitude =
    511;  // some value may be NaN or infinite: the block must be decoded
inline constexpr int kMagnitudes = 512;

/// Reads magnitudes at the speed of memory: nothing is decoded.
struct MagnitudeReader {
    uint64_t block_elements = 0, block_bytes = 0;  // of floats, 64 are a block
    bool of_values = false;                        // a magnitude that is not 0 is that of a value
    void (*read)(const std::byte* source, uint64_t n_blocks, Magnitude* magnitudes) = nullptr;
};

/// Null where values must be decoded to tell: integers, F64, and layouts that this version cannot decode.
const MagnitudeReader* magnitude_reader(TensorType type);

}  // namespace ingot::inspect

#pragma once
// Weights that are floats. Each loads 4 of them, or n < 4 and zeros, from a row that may not be aligned.
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

struct F32 {
    static constexpr int64_t kBytes = 4;
    INGOT_INLINE float32x4_t load(const uint8_t* row, int64_t i, int64_t n) {
        return load_floats(reinterpret_cast<const float*>(row) + i, n);
    }
};

struct F16 {
    static constexpr int64_t kBytes = 2;
    INGOT_INLINE float32x4_t load(const uint8_t* row, int64_t i, int64_t n) {
        return load_halves(row + 2 * i, n);
    }
};

struct BF16 {
    static constexpr int64_t kBytes = 2;
    INGOT_INLINE float32x4_t load(const uint8_t* row, int64_t i, int64_t n) {
        uint64_t bits = 0;
        __builtin_memcpy(&bits, row + 2 * i, size_t(n >= 4 ? 4 : n) * 2);
        return vreinterpretq_f32_u32(vshll_n_u16(vcreate_u16(bits), 16));
    }
};

}  // namespace
}  // namespace ingot::runtime::cpu::neon

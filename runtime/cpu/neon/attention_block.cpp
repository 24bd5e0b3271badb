// Attention of a block of tokens; see runtime/cpu/attention_block.h.
#include "runtime/cpu/attention_block.h"

#include "format/blocks/q8_0.h"
#include "runtime/cpu/neon/exp.h"
#include "runtime/cpu/neon/layouts_plain.h"
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu::neon {
namespace {

// Elements of a layout of floats.
template <typename Layout>
struct Cached {
    INGOT_INLINE float32x4_t load(const void* from, int64_t i, int64_t n) {
        return Layout::load(static_cast<const uint8_t*>(from), i, n);
    }
};

struct Vector {
    using Floats = float32x4_t;
    static constexpr int64_t kLanes = 4;
    static constexpr int kRows = 6, kVectors = 4;  // 24 sums, 4 vectors of keys and a query are 29 registers

    INGOT_INLINE float32x4_t all(float x) { return vdupq_n_f32(x); }
    INGOT_INLINE float32x4_t load(const float* from) { return vld1q_f32(from); }
    INGOT_INLINE void store(float* to, float32x4_t v) { vst1q_f32(to, v); }
    INGOT_INLINE void store_some(float* to, float32x4_t v, int64_t n) { store_floats(to, v, n); }
    INGOT_INLINE float32x4_t add(float32x4_t a, float32x4_t b) { return vaddq_f32(a, b); }
    INGOT_INLINE float32x4_t subtract(float32x4_t a, float32x4_t b) { return vsubq_f32(a, b); }
    INGOT_INLINE float32x4_t multiply(float32x4_t a, float32x4_t b) { return vmulq_f32(a, b); }
    INGOT_INLINE float32x4_t divide(float32x4_t a, float32x4_t b) { return vdivq_f32(a, b); }
    INGOT_INLINE float32x4_t larger(float32x4_t a, float32x4_t b) { return vmaxq_f32(a, b); }
    INGOT_INLINE float32x4_t multiply_add(float32x4_t a, float32x4_t b, float32x4_t c) {
        return vfmaq_f32(c, a, b);
    }
    INGOT_INLINE float largest(float32x4_t v) { return vmaxvq_f32(v); }
    INGOT_INLINE float sum(float32x4_t v) { return vaddvq_f32(v); }
    INGOT_INLINE float32x4_t steps() {
        constexpr float kSteps[4] = {0, 1, 2, 3};
        return vld1q_f32(kSteps);
    }
    INGOT_INLINE float32x4_t within(float32x4_t v, int64_t begin, int64_t end, float otherwise) {
        const uint32x4_t from_begin = vcgeq_f32(steps(), all(float(begin)));
        const uint32x4_t below_end = vcltq_f32(steps(), all(float(end)));
        return vbslq_f32(vandq_u32(from_begin, below_end), v, all(otherwise));
    }
    INGOT_INLINE float32x4_t exp2(float32x4_t v) {
        const float32x4_t least = all(kLeastExponent);
        const uint32x4_t too_small = vcltq_f32(v, least);
        const float32x4_t power = neon::exp2(vmaxq_f32(v, least));  // what is not a number stays so
        return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(power), too_small));
    }
    INGOT_INLINE float32x4_t capped(float32x4_t v, float cap) { return neon::capped(v, cap); }
    INGOT_INLINE void transpose(float32x4_t (&rows)[4]) {
        const float32x4x2_t low = vtrnq_f32(rows[0], rows[1]), high = vtrnq_f32(rows[2], rows[3]);
        rows[0] = vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0]));
        rows[1] = vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1]));
        rows[2] = vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0]));
        rows[3] = vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1]));
    }

    using F16 = Cached<neon::F16>;
    using F32 = Cached<neon::F32>;
    using BF16 = Cached<neon::BF16>;
    struct Q8_0 {  // heads are whole blocks
        INGOT_INLINE float32x4_t load(const void* from, int64_t i, int64_t) {
            const BlockQ8_0& block = static_cast<const BlockQ8_0*>(from)[i / 32];
            uint32_t bits;
            __builtin_memcpy(&bits, block.quants + i % 32, sizeof bits);
            const int8x8_t bytes = vreinterpret_s8_u32(vdup_n_u32(bits));
            const int32x4_t quants = vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
            return vmulq_n_f32(vcvtq_f32_s32(quants), to_float(block.d));
        }
    };
};

}  // namespace

size_t attention_block_scratch(int64_t n_rows, int64_t key_dim, int64_t value_dim) {
    return BlockAttention<Vector>::scratch_floats(n_rows, key_dim, value_dim);
}
void attention_block(const AttentionBlockArguments& a) {
    BlockAttention<Vector>::attend(a);
}

}  // namespace ingot::runtime::cpu::neon

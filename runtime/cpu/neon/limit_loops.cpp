// What NEON with dot products can do at best; see runtime/cpu/machine_limits.h.
#include <arm_neon.h>

#include "runtime/cpu/limit_tables.h"
#include "runtime/cpu/neon/limit_loops.h"

namespace ingot::runtime::cpu {
namespace {

using neon::kLimitSums;

int32_t multiply_int8(int64_t n_rounds) {
    int32x4_t sums[kLimitSums];
    for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+w"(a), "+w"(b));  // new operands, as far as the compiler knows
#pragma GCC unroll 20
        for (int i = 0; i < kLimitSums; ++i) sums[i] = vdotq_s32(sums[i], a, b);
    }
    int32x4_t all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = vaddq_s32(all, sums[i]);
    return vgetq_lane_s32(all, 0);
}

}  // namespace

namespace neon {

float multiply_float(int64_t n_rounds) {
    float32x4_t sums[kLimitSums];
    for (float32x4_t& sum : sums) sum = vdupq_n_f32(0);
    float32x4_t a = vdupq_n_f32(0.5f), b = vdupq_n_f32(0.25f);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+w"(a), "+w"(b));
#pragma GCC unroll 20
        for (int i = 0; i < kLimitSums; ++i) sums[i] = vfmaq_f32(sums[i], a, b);
    }
    float32x4_t all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = vaddq_f32(all, sums[i]);
    return vgetq_lane_f32(all, 0);
}

uint64_t read(const void* bytes, size_t n) {
    constexpr size_t kStreams = 4, kAhead = 2048;  // bytes that are asked for in advance
    const size_t length = n / kStreams;
    const auto* const first = static_cast<const uint8_t*>(bytes);
    uint8x16_t sums[kStreams];
    for (uint8x16_t& sum : sums) sum = vdupq_n_u8(0);
    for (size_t at = 0; at < length; at += 64) {
#pragma GCC unroll 4
        for (size_t stream = 0; stream < kStreams; ++stream) {
            const uint8_t* line = first + stream * length + at;
            __builtin_prefetch(line + kAhead);
            for (size_t i = 0; i < 64; i += 16) sums[stream] = veorq_u8(sums[stream], vld1q_u8(line + i));
        }
    }
    const uint8x16_t all = veorq_u8(veorq_u8(sums[0], sums[1]), veorq_u8(sums[2], sums[3]));
    const uint64x2_t halves = vreinterpretq_u64_u8(all);
    return vgetq_lane_u64(halves, 0) ^ vgetq_lane_u64(halves, 1);
}

}  // namespace neon

constinit const LimitLoops kNeonLimits = {
    .name = "neon",
    .int8_instruction = "sdot",
    .int8_operations = int64_t(kLimitSums) * 16 * 2,
    .multiply_int8 = multiply_int8,
    .float_operations = int64_t(kLimitSums) * 4 * 2,
    .multiply_float = neon::multiply_float,
    .read = neon::read,
};

}  // namespace ingot::runtime::cpu

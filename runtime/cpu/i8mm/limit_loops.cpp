// What a processor with SMMLA can do at best; see runtime/cpu/machine_limits.h.
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
        for (int i = 0; i < kLimitSums; ++i) sums[i] = vmmlaq_s32(sums[i], a, b);
    }
    int32x4_t all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = vaddq_s32(all, sums[i]);
    return vgetq_lane_s32(all, 0);
}

}  // namespace

constinit const LimitLoops kI8mmLimits = {
    .name = "i8mm",
    .int8_instruction = "smmla",
    .int8_operations = int64_t(kLimitSums) * 32 * 2,
    .multiply_int8 = multiply_int8,
    .float_operations = int64_t(kLimitSums) * 4 * 2,
    .multiply_float = neon::multiply_float,
    .read = neon::read,
};

}  // namespace ingot::runtime::cpu

// What AVX-VNNI can do at best; see runtime/cpu/machine_limits.h.
#include <immintrin.h>

#include "runtime/cpu/avx2/limit_loops.h"
#include "runtime/cpu/limit_tables.h"

namespace ingot::runtime::cpu {
namespace {

using avx2::kLimitSums;

int32_t multiply_int8(int64_t n_rounds) {
    __m256i sums[kLimitSums];
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    __m256i a = _mm256_set1_epi32(0x01020304), b = _mm256_set1_epi32(0x04030201);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+x"(a), "+x"(b));  // new operands, as far as the compiler knows
#pragma GCC unroll 12
        for (int i = 0; i < kLimitSums; ++i) sums[i] = _mm256_dpbusd_avx_epi32(sums[i], a, b);
    }
    __m256i all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = _mm256_add_epi32(all, sums[i]);
    return _mm_cvtsi128_si32(_mm256_castsi256_si128(all));
}

}  // namespace

constinit const LimitLoops kAvxVnniLimits = {
    .name = "avxvnni",
    .int8_instruction = "vpdpbusd",
    .int8_operations = int64_t(kLimitSums) * 32 * 2,
    .multiply_int8 = multiply_int8,
    .float_operations = int64_t(kLimitSums) * 8 * 2,
    .multiply_float = avx2::multiply_float,
    .read = avx2::read,
};

}  // namespace ingot::runtime::cpu

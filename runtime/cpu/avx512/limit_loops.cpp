// Loops that keep the multipliers busy, or the memory, and nothing else.
#include "runtime/cpu/avx512/limit_loops.h"

#include <immintrin.h>

#include "runtime/cpu/limit_tables.h"

namespace ingot::runtime::cpu {
namespace avx512 {

int32_t multiply_int8(int64_t n_rounds) {
    __m512i sums[kLimitSums];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    __m512i a = _mm512_set1_epi32(0x01020304), b = _mm512_set1_epi32(0x04030201);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+v"(a), "+v"(b));  // new operands, as far as the compiler knows
#pragma GCC unroll 16
        for (int i = 0; i < kLimitSums; ++i) sums[i] = _mm512_dpbusd_epi32(sums[i], a, b);
    }
    __m512i all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = _mm512_add_epi32(all, sums[i]);
    return _mm_cvtsi128_si32(_mm512_castsi512_si128(all));
}

float multiply_float(int64_t n_rounds) {
    __m512 sums[kLimitSums];
    for (__m512& sum : sums) sum = _mm512_setzero_ps();
    __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+v"(a), "+v"(b));
#pragma GCC unroll 16
        for (int i = 0; i < kLimitSums; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
    }
    __m512 all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = _mm512_add_ps(all, sums[i]);
    return _mm512_cvtss_f32(all);
}

uint64_t read(const void* bytes, size_t n) {
    constexpr size_t kStreams = 4, kAhead = 2048;  // bytes that are asked for in advance
    const size_t length = n / kStreams;
    const char* const first = static_cast<const char*>(bytes);
    __m512i sums[kStreams];
    for (__m512i& sum : sums) sum = _mm512_setzero_si512();
    for (size_t at = 0; at < length; at += sizeof(__m512i)) {
#pragma GCC unroll 4
        for (size_t stream = 0; stream < kStreams; ++stream) {
            const char* line = first + stream * length + at;
            _mm_prefetch(line + kAhead, _MM_HINT_T0);
            sums[stream] = _mm512_xor_si512(sums[stream], _mm512_loadu_si512(line));
        }
    }
    const __m512i all =
        _mm512_xor_si512(_mm512_xor_si512(sums[0], sums[1]), _mm512_xor_si512(sums[2], sums[3]));
    const __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    const __m128i quarter = _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return uint64_t(_mm_cvtsi128_si64(quarter) ^ _mm_extract_epi64(quarter, 1));
}

}  // namespace avx512

constinit const LimitLoops kAvx512Limits = {
    .name = "avx512",
    .int8_instruction = "vpdpbusd",
    .int8_operations = avx512::kInt8Operations,
    .multiply_int8 = avx512::multiply_int8,
    .float_operations = avx512::kFloatOperations,
    .multiply_float = avx512::multiply_float,
    .read = avx512::read,
};

}  // namespace ingot::runtime::cpu

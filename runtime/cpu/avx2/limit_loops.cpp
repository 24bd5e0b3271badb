// Loops that keep the multipliers busy, or the memory, and nothing else.
#include <immintrin.h>

#include "runtime/cpu/avx2/limit_loops.h"
#include "runtime/cpu/limit_tables.h"

namespace ingot::runtime::cpu {
namespace {

using avx2::kLimitSums;

// Without VNNI 8-bit products take three instructions: pairs to 16 bits, pairs to 32 bits, the sum.
int32_t multiply_int8(int64_t n_rounds) {
    __m256i sums[kLimitSums];
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    __m256i a = _mm256_set1_epi32(0x01020304), b = _mm256_set1_epi32(0x04030201);
    const __m256i ones = _mm256_set1_epi16(1);
    for (int64_t round = 0; round < n_rounds; ++round) {
#pragma GCC unroll 12
        for (int i = 0; i < kLimitSums; ++i) {
            asm volatile("" : "+x"(a), "+x"(b));  // new operands, as far as the compiler knows
            const __m256i pairs = _mm256_maddubs_epi16(a, b);
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, ones));
        }
    }
    __m256i all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = _mm256_add_epi32(all, sums[i]);
    return _mm_cvtsi128_si32(_mm256_castsi256_si128(all));
}

}  // namespace

namespace avx2 {

float multiply_float(int64_t n_rounds) {
    __m256 sums[kLimitSums];
    for (__m256& sum : sums) sum = _mm256_setzero_ps();
    __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : "+x"(a), "+x"(b));
#pragma GCC unroll 12
        for (int i = 0; i < kLimitSums; ++i) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
    }
    __m256 all = sums[0];
    for (int i = 1; i < kLimitSums; ++i) all = _mm256_add_ps(all, sums[i]);
    return _mm256_cvtss_f32(all);
}

uint64_t read(const void* bytes, size_t n) {
    constexpr size_t kStreams = 4, kAhead = 2048;  // bytes that are asked for in advance
    const size_t length = n / kStreams;
    const char* const first = static_cast<const char*>(bytes);
    __m256i sums[kStreams];
    for (__m256i& sum : sums) sum = _mm256_setzero_si256();
    for (size_t at = 0; at < length; at += 64) {
#pragma GCC unroll 4
        for (size_t stream = 0; stream < kStreams; ++stream) {
            const char* line = first + stream * length + at;
            _mm_prefetch(line + kAhead, _MM_HINT_T0);
            const auto* halves = reinterpret_cast<const __m256i*>(line);
            sums[stream] = _mm256_xor_si256(sums[stream], _mm256_loadu_si256(halves));
            sums[stream] = _mm256_xor_si256(sums[stream], _mm256_loadu_si256(halves + 1));
        }
    }
    const __m256i all =
        _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
    const __m128i half = _mm_xor_si128(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    return uint64_t(_mm_cvtsi128_si64(half) ^ _mm_extract_epi64(half, 1));
}

}  // namespace avx2

constinit const LimitLoops kAvx2Limits = {
    .name = "avx2",
    .int8_instruction = "vpmaddubsw",
    .int8_operations = int64_t(kLimitSums) * 32 * 2,
    .multiply_int8 = multiply_int8,
    .float_operations = int64_t(kLimitSums) * 8 * 2,
    .multiply_float = avx2::multiply_float,
    .read = avx2::read,
};

}  // namespace ingot::runtime::cpu

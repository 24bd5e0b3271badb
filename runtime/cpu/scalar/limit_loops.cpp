// The loops as any compiler may turn them into instructions.
#include <cstring>

#include "runtime/cpu/limit_tables.h"

namespace ingot::runtime::cpu {
namespace {

constexpr int kSums = 32;

int32_t multiply_int8(int64_t n_rounds) {
    int32_t sums[kSums] = {};
    int8_t a[kSums], b[kSums];
    std::memset(a, 3, sizeof a);
    std::memset(b, 5, sizeof b);
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : : "r"(a), "r"(b) : "memory");  // new operands, as far as the compiler knows
        for (int i = 0; i < kSums; ++i) sums[i] += int32_t(a[i]) * int32_t(b[i]);
    }
    int32_t all = 0;
    for (const int32_t sum : sums) all ^= sum;
    return all;
}

float multiply_float(int64_t n_rounds) {
    float sums[kSums] = {};
    float a[kSums], b[kSums];
    for (int i = 0; i < kSums; ++i) a[i] = 0.5f, b[i] = 0.25f;
    for (int64_t round = 0; round < n_rounds; ++round) {
        asm volatile("" : : "r"(a), "r"(b) : "memory");
        for (int i = 0; i < kSums; ++i) sums[i] += a[i] * b[i];
    }
    float all = 0;
    for (const float sum : sums) all += sum;
    return all;
}

uint64_t read(const void* bytes, size_t n) {
    constexpr size_t kStreams = 4, kAhead = 2048;  // bytes that are asked for in advance
    const size_t length = n / kStreams;
    const char* const first = static_cast<const char*>(bytes);
    uint64_t sums[8] = {};
    for (size_t at = 0; at < length; at += sizeof sums) {
        for (size_t stream = 0; stream < kStreams; ++stream) {
            const char* line = first + stream * length + at;
            __builtin_prefetch(line + kAhead);
            uint64_t words[8];
            std::memcpy(words, line, sizeof words);
            for (int i = 0; i < 8; ++i) sums[i] ^= words[i];
        }
    }
    uint64_t all = 0;
    for (const uint64_t sum : sums) all ^= sum;
    return all;
}

}  // namespace

constinit const LimitLoops kScalarLimits = {
    .name = "scalar",
    .int8_instruction = "8-bit multiplications",
    .int8_operations = int64_t(kSums) * 2,
    .multiply_int8 = multiply_int8,
    .float_operations = int64_t(kSums) * 2,
    .multiply_float = multiply_float,
    .read = read,
};

}  // namespace ingot::runtime::cpu

#pragma once
// The loops that AMX shares; see runtime/cpu/machine_limits.h.
#include <cstddef>
#include <cstdint>

namespace ingot::runtime::cpu::avx512 {

constexpr int kLimitSums = 16;  // independent ones: more than latency times instructions in a cycle
constexpr int64_t kInt8Operations = int64_t(kLimitSums) * 64 * 2;
constexpr int64_t kFloatOperations = int64_t(kLimitSums) * 16 * 2;

int32_t multiply_int8(int64_t n_rounds);
float multiply_float(int64_t n_rounds);
uint64_t read(const void* bytes, size_t n);

}  // namespace ingot::runtime::cpu::avx512

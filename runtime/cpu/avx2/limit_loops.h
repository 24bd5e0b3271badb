#pragma once
// Loops of AVX2 that AVX-VNNI has, too; see runtime/cpu/limit_tables.h.
#include <cstddef>
#include <cstdint>

namespace ingot::runtime::cpu::avx2 {

constexpr int kLimitSums = 12;           // independent ones: more than latency times instructions in a cycle
float multiply_float(int64_t n_rounds);  // kLimitSums * 8 multiplications and additions in a round
uint64_t read(const void* bytes, size_t n);

}  // namespace ingot::runtime::cpu::avx2

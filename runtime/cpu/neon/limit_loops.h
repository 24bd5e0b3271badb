#pragma once
// Loops of NEON that processors with SMMLA have, too; see runtime/cpu/limit_tables.h.
#include <cstddef>
#include <cstdint>

namespace ingot::runtime::cpu::neon {

constexpr int kLimitSums = 20;           // independent ones: more than latency times instructions in a cycle
float multiply_float(int64_t n_rounds);  // kLimitSums * 4 multiplications and additions in a round
uint64_t read(const void* bytes, size_t n);

}  // namespace ingot::runtime::cpu::neon

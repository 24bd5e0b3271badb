#pragma once
// The loops of the instruction sets, for machine_limits.cpp, which chooses among them. Plain data and
// function pointers, as in kernels.h.
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace ingot::runtime::cpu {

/// The loops of one instruction set. Operations are multiplications and additions, counted apart.
struct LimitLoops {
    std::string_view name;              // of the kernel table: "avx512"
    std::string_view int8_instruction;  // "vpdpbusd"
    int64_t int8_operations;            // of one round
    int32_t (*multiply_int8)(int64_t n_rounds);
    int64_t float_operations;  // of one round
    float (*multiply_float)(int64_t n_rounds);
    /// Reads n bytes, a multiple of 256, in four streams; the answer depends on all of them.
    uint64_t (*read)(const void* bytes, size_t n);
    /// Of the tables that have products by matrix registers.
    std::string_view matrix_instruction = {};
    int64_t matrix_operations = 0;  // of one round
    float (*multiply_matrix)(int64_t n_rounds) = nullptr;
};

extern const LimitLoops kScalarLimits;
extern const LimitLoops kAvx2Limits;
extern const LimitLoops kAvxVnniLimits;
extern const LimitLoops kAvx512Limits;
extern const LimitLoops kAmxLimits;
extern const LimitLoops kNeonLimits;
extern const LimitLoops kI8mmLimits;

}  // namespace ingot::runtime::cpu

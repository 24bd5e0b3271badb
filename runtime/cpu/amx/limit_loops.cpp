// What AMX can do at best; see runtime/cpu/machine_limits.h. Integers and floats in vectors are AVX-512's.
#include "runtime/cpu/avx512/limit_loops.h"
#include "runtime/cpu/amx/tiles.h"
#include "runtime/cpu/limit_tables.h"

namespace ingot::runtime::cpu {
namespace {

constexpr int kSums = 4;

float multiply_matrix(int64_t n_rounds) {
    const amx::TileRegisters registers;
    const __m512i zeros[amx::kTileRows] = {};
    amx::load_tile<4>(zeros), amx::load_tile<5>(zeros), amx::load_tile<6>(zeros), amx::load_tile<7>(zeros);
    for (int64_t round = 0; round < n_rounds; ++round) {
        amx::add_products<0, 4, 6>();
        amx::add_products<1, 4, 7>();
        amx::add_products<2, 5, 6>();
        amx::add_products<3, 5, 7>();
    }
    return 0;
}

}  // namespace

constinit const LimitLoops kAmxLimits = {
    .name = "amx",
    .int8_instruction = "vpdpbusd",
    .int8_operations = avx512::kInt8Operations,
    .multiply_int8 = avx512::multiply_int8,
    .float_operations = avx512::kFloatOperations,
    .multiply_float = avx512::multiply_float,
    .read = avx512::read,
    .matrix_instruction = "tdpbf16ps",
    .matrix_operations = int64_t(kSums) * 16 * 16 * 32 * 2,
    .multiply_matrix = multiply_matrix,
};

}  // namespace ingot::runtime::cpu

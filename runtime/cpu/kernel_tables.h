#pragma once
// The tables of the instruction sets, for kernels.cpp, which chooses among them. The functions that ask the
// processor are compiled without raised flags: they run before it is known what the processor can do.
#include "runtime/cpu/kernels.h"

namespace ingot::runtime::cpu {

extern const Kernels kScalarKernels;
extern const Kernels kAvx2Kernels;     // AVX2, FMA, F16C
extern const Kernels kAvxVnniKernels;  // … and AVX-VNNI
extern const Kernels kAvx512Kernels;   // AVX-512 F, BW, VL, DQ, VNNI
extern const Kernels kAmxKernels;      // … and AVX-512 BF16, AMX with BF16
extern const Kernels kNeonKernels;     // NEON with dot products
extern const Kernels kI8mmKernels;     // … and products of small matrices

bool always_supported();
bool avx2_supported();
bool avxvnni_supported();
bool avx512_supported();
bool amx_supported();
bool neon_supported();
bool i8mm_supported();

}  // namespace ingot::runtime::cpu

#pragma once
// What processors with AVX-VNNI (VPDPBUSD without AVX-512) do in another way than those with AVX2 alone:
// products with many tokens. Everything else is AVX2's.
#include "runtime/cpu/avx2/avx2.h"

namespace ingot::runtime::cpu::avxvnni {

void panels_q4_0(const MatmulArguments&);
void panels_q4_1(const MatmulArguments&);
void panels_q5_0(const MatmulArguments&);
void panels_q5_1(const MatmulArguments&);
void panels_q8_0(const MatmulArguments&);
void panels_iq4_nl(const MatmulArguments&);
void panels_iq4_xs(const MatmulArguments&);
void panels_q2_k(const MatmulArguments&);
void panels_q3_k(const MatmulArguments&);
void panels_q4_k(const MatmulArguments&);
void panels_q5_k(const MatmulArguments&);
void panels_q6_k(const MatmulArguments&);

}  // namespace ingot::runtime::cpu::avxvnni

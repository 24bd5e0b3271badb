#include "runtime/cpu/avx2/panels_256.h"
#include "runtime/cpu/avx2/panels_32.h"
#include "runtime/cpu/avxvnni/avxvnni.h"

namespace ingot::runtime::cpu::avxvnni {

using namespace avx2;

void panels_q4_0(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::Q4_0>>(m);
}
void panels_q4_1(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::Q4_1>>(m);
}
void panels_q5_0(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::Q5_0>>(m);
}
void panels_q5_1(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::Q5_1>>(m);
}
void panels_q8_0(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::Q8_0>>(m);
}
void panels_iq4_nl(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::IQ4_NL>>(m);
}
void panels_iq4_xs(const MatmulArguments& m) {
    multiply_panels<Panel32<FourProducts, avx2::IQ4_XS>>(m);
}
void panels_q2_k(const MatmulArguments& m) {
    multiply_panels<Panel256<FourProducts, avx2::Q2_K>>(m);
}
void panels_q3_k(const MatmulArguments& m) {
    multiply_panels<Panel256<FourProducts, avx2::Q3_K>>(m);
}
void panels_q4_k(const MatmulArguments& m) {
    multiply_panels<Panel256<FourProducts, avx2::Q4_K>>(m);
}
void panels_q5_k(const MatmulArguments& m) {
    multiply_panels<Panel256<FourProducts, avx2::Q5_K>>(m);
}
void panels_q6_k(const MatmulArguments& m) {
    multiply_panels<Panel256<FourProducts, avx2::Q6_K>>(m);
}

}  // namespace ingot::runtime::cpu::avxvnni

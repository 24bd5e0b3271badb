#include "runtime/cpu/kernel_tables.h"
#include "runtime/cpu/scalar/scalar.h"

namespace ingot::runtime::cpu {

static constexpr Kernels::Matmul kMatmuls[] = {
    {TensorType::F32, ActivationForm::F32, scalar::matmul_f32},
    {TensorType::F16, ActivationForm::F32, scalar::matmul_f16},
    {TensorType::BF16, ActivationForm::F32, scalar::matmul_bf16},
    {TensorType::Q4_0, ActivationForm::Q8_0, scalar::matmul_q4_0},
    {TensorType::Q4_1, ActivationForm::Q8_0, scalar::matmul_q4_1},
    {TensorType::Q5_0, ActivationForm::Q8_0, scalar::matmul_q5_0},
    {TensorType::Q5_1, ActivationForm::Q8_0, scalar::matmul_q5_1},
    {TensorType::Q8_0, ActivationForm::Q8_0, scalar::matmul_q8_0},
    {TensorType::IQ4_NL, ActivationForm::Q8_0, scalar::matmul_iq4_nl},
    {TensorType::IQ4_XS, ActivationForm::Q8_0, scalar::matmul_iq4_xs},
    {TensorType::Q2_K, ActivationForm::Q8_K, scalar::matmul_q2_k},
    {TensorType::Q3_K, ActivationForm::Q8_K, scalar::matmul_q3_k},
    {TensorType::Q4_K, ActivationForm::Q8_K, scalar::matmul_q4_k},
    {TensorType::Q5_K, ActivationForm::Q8_K, scalar::matmul_q5_k},
    {TensorType::Q6_K, ActivationForm::Q8_K, scalar::matmul_q6_k},
};

constinit const Kernels kScalarKernels = {
    .name = "scalar",
    .supported = always_supported,
    .matmuls = kMatmuls,
    .quantize_q8_0 = scalar::quantize_q8_0,
    .quantize_q8_k = scalar::quantize_q8_k,
    .rms_norm = scalar::rms_norm,
    .layer_norm = scalar::layer_norm,
    .activate = scalar::activate,
    .soft_cap = scalar::soft_cap,
    .add = scalar::add,
    .to_half = scalar::to_half,
    .attention = scalar::attention,
};

}  // namespace ingot::runtime::cpu

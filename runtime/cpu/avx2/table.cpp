#include "runtime/cpu/avx2/avx2.h"
#include "runtime/cpu/kernel_tables.h"

namespace ingot::runtime::cpu {

static constexpr Kernels::Matmul kMatmuls[] = {
    {TensorType::F32, ActivationForm::F32, avx2::matmul_f32, avx2::panels_f32},
    {TensorType::F16, ActivationForm::F32, avx2::matmul_f16, avx2::panels_f16},
    {TensorType::BF16, ActivationForm::F32, avx2::matmul_bf16, avx2::panels_bf16},
    {TensorType::Q4_0, ActivationForm::Q8_0, avx2::matmul_q4_0, avx2::panels_q4_0},
    {TensorType::Q4_1, ActivationForm::Q8_0, avx2::matmul_q4_1, avx2::panels_q4_1},
    {TensorType::Q5_0, ActivationForm::Q8_0, avx2::matmul_q5_0, avx2::panels_q5_0},
    {TensorType::Q5_1, ActivationForm::Q8_0, avx2::matmul_q5_1, avx2::panels_q5_1},
    {TensorType::Q8_0, ActivationForm::Q8_0, avx2::matmul_q8_0, avx2::panels_q8_0},
    {TensorType::IQ4_NL, ActivationForm::Q8_0, avx2::matmul_iq4_nl, avx2::panels_iq4_nl},
    {TensorType::IQ4_XS, ActivationForm::Q8_0, avx2::matmul_iq4_xs, avx2::panels_iq4_xs},
    {TensorType::Q2_K, ActivationForm::Q8_K, avx2::matmul_q2_k, avx2::panels_q2_k},
    {TensorType::Q3_K, ActivationForm::Q8_K, avx2::matmul_q3_k, avx2::panels_q3_k},
    {TensorType::Q4_K, ActivationForm::Q8_K, avx2::matmul_q4_k, avx2::panels_q4_k},
    {TensorType::Q5_K, ActivationForm::Q8_K, avx2::matmul_q5_k, avx2::panels_q5_k},
    {TensorType::Q6_K, ActivationForm::Q8_K, avx2::matmul_q6_k, avx2::panels_q6_k},
};

constinit const Kernels kAvx2Kernels = {
    .name = "avx2",
    .supported = avx2_supported,
    .matmuls = kMatmuls,
    .tiles = {{avx2::kPlainTileTokens, 8, avx2::tile_bytes_plain, avx2::pack_tile_plain},
              {avx2::kTileTokens, 8, avx2::tile_bytes_32, avx2::pack_tile_32},
              {avx2::kTileTokens, 8, avx2::tile_bytes_256, avx2::pack_tile_256}},
    .quantize_q8_0 = avx2::quantize_q8_0,
    .quantize_q8_k = avx2::quantize_q8_k,
    .rms_norm = avx2::rms_norm,
    .layer_norm = avx2::layer_norm,
    .activate = avx2::activate,
    .soft_cap = avx2::soft_cap,
    .add = avx2::add,
    .to_half = avx2::to_half,
    .attention = avx2::attention,
    .attention_block = {avx2::attention_block, avx2::attention_block_scratch},
};

}  // namespace ingot::runtime::cpu

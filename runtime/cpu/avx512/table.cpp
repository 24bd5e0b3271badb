#include "runtime/cpu/avx512/avx512.h"
#include "runtime/cpu/kernel_tables.h"

namespace ingot::runtime::cpu {

static constexpr Kernels::Matmul kMatmuls[] = {
    {TensorType::F32, ActivationForm::F32, avx512::matmul_f32, avx512::panels_f32},
    {TensorType::F16, ActivationForm::F32, avx512::matmul_f16, avx512::panels_f16},
    {TensorType::BF16, ActivationForm::F32, avx512::matmul_bf16, avx512::panels_bf16},
    {TensorType::Q4_0, ActivationForm::Q8_0, avx512::matmul_q4_0, avx512::panels_q4_0},
    {TensorType::Q4_1, ActivationForm::Q8_0, avx512::matmul_q4_1, avx512::panels_q4_1},
    {TensorType::Q5_0, ActivationForm::Q8_0, avx512::matmul_q5_0, avx512::panels_q5_0},
    {TensorType::Q5_1, ActivationForm::Q8_0, avx512::matmul_q5_1, avx512::panels_q5_1},
    {TensorType::Q8_0, ActivationForm::Q8_0, avx512::matmul_q8_0, avx512::panels_q8_0},
    {TensorType::IQ4_NL, ActivationForm::Q8_0, avx512::matmul_iq4_nl, avx512::panels_iq4_nl},
    {TensorType::IQ4_XS, ActivationForm::Q8_0, avx512::matmul_iq4_xs, avx512::panels_iq4_xs},
    {TensorType::Q2_K, ActivationForm::Q8_K, avx512::matmul_q2_k, avx512::panels_q2_k},
    {TensorType::Q3_K, ActivationForm::Q8_K, avx512::matmul_q3_k, avx512::panels_q3_k},
    {TensorType::Q4_K, ActivationForm::Q8_K, avx512::matmul_q4_k, avx512::panels_q4_k},
    {TensorType::Q5_K, ActivationForm::Q8_K, avx512::matmul_q5_k, avx512::panels_q5_k},
    {TensorType::Q6_K, ActivationForm::Q8_K, avx512::matmul_q6_k, avx512::panels_q6_k},
};

constinit const Kernels kAvx512Kernels = {
    .name = "avx512",
    .supported = avx512_supported,
    .matmuls = kMatmuls,
    .tiles = {{avx512::kTileTokens, 8, avx512::tile_bytes_plain, avx512::pack_tile_plain},
              {avx512::kTileTokens, 8, avx512::tile_bytes_32, avx512::pack_tile_32},
              {avx512::kTileTokens, 8, avx512::tile_bytes_256, avx512::pack_tile_256}},
    .quantize_q8_0 = avx512::quantize_q8_0,
    .quantize_q8_k = avx512::quantize_q8_k,
    .rms_norm = avx512::rms_norm,
    .layer_norm = avx512::layer_norm,
    .activate = avx512::activate,
    .soft_cap = avx512::soft_cap,
    .add = avx512::add,
    .to_half = avx512::to_half,
    .attention = avx512::attention,
    .attention_block = {avx512::attention_block, avx512::attention_block_scratch},
};

}  // namespace ingot::runtime::cpu

#include "runtime/cpu/kernel_tables.h"
#include "runtime/cpu/neon/neon.h"

namespace ingot::runtime::cpu {

static constexpr Kernels::Matmul kMatmuls[] = {
    {TensorType::F32, ActivationForm::F32, neon::matmul_f32, neon::panels_f32},
    {TensorType::F16, ActivationForm::F32, neon::matmul_f16, neon::panels_f16},
    {TensorType::BF16, ActivationForm::F32, neon::matmul_bf16, neon::panels_bf16},
    {TensorType::Q4_0, ActivationForm::Q8_0, neon::matmul_q4_0, neon::panels_q4_0},
    {TensorType::Q4_1, ActivationForm::Q8_0, neon::matmul_q4_1, neon::panels_q4_1},
    {TensorType::Q5_0, ActivationForm::Q8_0, neon::matmul_q5_0, neon::panels_q5_0},
    {TensorType::Q5_1, ActivationForm::Q8_0, neon::matmul_q5_1, neon::panels_q5_1},
    {TensorType::Q8_0, ActivationForm::Q8_0, neon::matmul_q8_0, neon::panels_q8_0},
    {TensorType::IQ4_NL, ActivationForm::Q8_0, neon::matmul_iq4_nl, neon::panels_iq4_nl},
    {TensorType::IQ4_XS, ActivationForm::Q8_0, neon::matmul_iq4_xs, neon::panels_iq4_xs},
    {TensorType::Q2_K, ActivationForm::Q8_K, neon::matmul_q2_k, neon::panels_q2_k},
    {TensorType::Q3_K, ActivationForm::Q8_K, neon::matmul_q3_k, neon::panels_q3_k},
    {TensorType::Q4_K, ActivationForm::Q8_K, neon::matmul_q4_k, neon::panels_q4_k},
    {TensorType::Q5_K, ActivationForm::Q8_K, neon::matmul_q5_k, neon::panels_q5_k},
    {TensorType::Q6_K, ActivationForm::Q8_K, neon::matmul_q6_k, neon::panels_q6_k},
};

constinit const Kernels kNeonKernels = {
    .name = "neon",
    .supported = neon_supported,
    .matmuls = kMatmuls,
    .tiles = {{neon::kPlainTileTokens, 8, neon::tile_bytes_plain, neon::pack_tile_plain},
              {neon::kTileTokens, 8, neon::tile_bytes_32, neon::pack_tile_32},
              {neon::kTileTokens, 8, neon::tile_bytes_256, neon::pack_tile_256}},
    .quantize_q8_0 = neon::quantize_q8_0,
    .quantize_q8_k = neon::quantize_q8_k,
    .rms_norm = neon::rms_norm,
    .layer_norm = neon::layer_norm,
    .activate = neon::activate,
    .soft_cap = neon::soft_cap,
    .add = neon::add,
    .to_half = neon::to_half,
    .attention = neon::attention,
    .attention_block = {neon::attention_block, neon::attention_block_scratch},
};

}  // namespace ingot::runtime::cpu

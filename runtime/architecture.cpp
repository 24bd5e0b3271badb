#include "runtime/architecture.h"

namespace ingot::runtime {
namespace {

constexpr auto kInterleaved = RopePairing::Interleaved;

// In alphabetical order. What is not said is as the struct has it: RMS norms before each part, halves of a
// head rotated together, silu and a gate in the feed-forward part, no windows, no scales.
constexpr ModelFamily kFamilies[] = {
    {.name = "bloom",
     .norm = NormKind::Layer,
     .embedding_norm = true,
     .position = Position::Alibi,
     .activation = Activation::GeluTanh,
     .gated = false,
     .biases = Biases::All},
    {.name = "cohere2",  // Command-R7B
     .norm = NormKind::Layer,
     .residual = Residual::Parallel,
     .rope_pairing = kInterleaved,
     .window_rope = WindowRope::Only,
     .window_period = 4,
     .logit_scale = LogitScale::Multiply},
    {.name = "command-r",
     .norm = NormKind::Layer,
     .residual = Residual::Parallel,
     .qk_norm = QkNorm::OptionalEach,
     .rope_pairing = kInterleaved,
     .logit_scale = LogitScale::Multiply},
    {.name = "falcon",
     .norm = NormKind::Layer,
     .residual = Residual::Parallel,
     .activation = Activation::Gelu,
     .gated = false},
    {.name = "gemma", .activation = Activation::GeluTanh, .embedding_scaled = true},
    {.name = "gemma2",
     .placement = NormPlacement::BeforeAndAfter,
     .window = 4096,
     .window_period = 2,
     .attention_soft_cap = 50,
     .n_layers_wide_scale = 46,
     .activation = Activation::GeluTanh,
     .embedding_scaled = true,
     .final_soft_cap = 30},
    {.name = "gemma3",
     .placement = NormPlacement::BeforeAndAfter,
     .qk_norm = QkNorm::Head,
     .window_rope = WindowRope::Unscaled,
     .window_rope_base = 10000,
     .window_period = 6,
     .n_layers_wide_scale = 62,
     .activation = Activation::GeluTanh,
     .embedding_scaled = true},
    {.name = "gpt2",
     .norm = NormKind::Layer,
     .position = Position::Learned,
     .activation = Activation::GeluTanh,
     .gated = false,
     .biases = Biases::All},
    {.name = "gptj",
     .norm = NormKind::Layer,
     .residual = Residual::Parallel,
     .rope_pairing = kInterleaved,
     .activation = Activation::GeluTanh,
     .gated = false},
    {.name = "gptneox",  // also Pythia
     .norm = NormKind::Layer,
     .residual = Residual::ByKey,
     .activation = Activation::Gelu,
     .gated = false,
     .biases = Biases::All},
    {.name = "granite", .rope_pairing = kInterleaved, .logit_scale = LogitScale::Divide},
    {.name = "llama", .rope_pairing = kInterleaved},  // also Mistral
    {.name = "mpt",
     .norm = NormKind::Layer,
     .qk_norm = QkNorm::OptionalWidth,
     .position = Position::Alibi,
     .odd_alibi_first = true,
     .activation = Activation::Gelu,
     .gated = false},
    {.name = "olmo2",  // also OLMo-3
     .placement = NormPlacement::After,
     .qk_norm = QkNorm::Width,
     .window_rope = WindowRope::Unscaled,
     .window_period = 4},
    {.name = "phi2",
     .norm = NormKind::Layer,
     .residual = Residual::Parallel,
     .activation = Activation::GeluTanh,
     .gated = false,
     .biases = Biases::All},
    {.name = "phi3"},
    {.name = "qwen2", .biases = Biases::Qkv},
    {.name = "qwen3", .qk_norm = QkNorm::Head},
    {.name = "smollm3", .rope_pairing = kInterleaved, .rope_skip = 4},
    {.name = "stablelm",
     .norm = NormKind::Layer,
     .residual = Residual::ParallelWithoutFfnNorm,
     .qk_norm = QkNorm::OptionalEach},
    {.name = "starcoder2",
     .norm = NormKind::Layer,
     .activation = Activation::GeluTanh,
     .gated = false,
     .biases = Biases::All},
};

}  // namespace

std::span<const ModelFamily> model_families() {
    return kFamilies;
}

}  // namespace ingot::runtime

// Command-R: one LayerNorm without bias before attention and feed-forward side by side, scaled logits. It
// rotates neighbours itself, so that no row moves. R+ has norms of each head's queries and keys; Command-R7B
// (Cohere 2) a window in three layers of four and no rotation in the fourth.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr TensorRule kCohereTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(with_attention_bias),
    {"model.layers.{bid}.self_attn.q_norm.weight",
     "blk.{bid}.attn_q_norm.weight",
     {head_dim, n_heads},
     {},
     optional},
    key(),
    key_bias(with_attention_bias),
    {"model.layers.{bid}.self_attn.k_norm.weight",
     "blk.{bid}.attn_k_norm.weight",
     {head_dim, n_kv_heads},
     {},
     optional},
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutput,
};
static constexpr NumberRule kCohereNumbers[] = {
    {"model_max_length|max_position_embeddings", "context_length", NumberKind::Uint32},
    kLayerNormEpsilon,
    {"logit_scale", "logit_scale", NumberKind::Float32, 0.0625}};
static constexpr std::string_view kCohereClasses[] = {"CohereForCausalLM"};
static constexpr std::string_view kCohereTypes[] = {"cohere"};
extern const Family kCohere{.name = "Command-R",
                            .classes = kCohereClasses,
                            .model_types = kCohereTypes,
                            .architecture = "command-r",
                            .tensors = kCohereTensors,
                            .numbers = kCohereNumbers,
                            .activations = kSilu,
                            .tied_by_default = true,
                            .more_keys = [](const ModelConfig&, const Json&, Hyperparameters& keys) {
                                keys.set_text("rope.scaling.type", "none");
                            }};

static void refine_cohere2(const Json& config, ModelConfig& model) {
    if (config.find("layer_types")) return;
    const uint64_t period = config.get_uint("sliding_window_pattern").value_or(4);
    for (uint64_t i = 0; i < model.n_layers && period > 0; ++i)
        model.layers[i].sliding = (i + 1) % period != 0;
}
static void cohere2_keys(const ModelConfig& model, const Json&, Hyperparameters& keys) {
    keys.set_text("rope.scaling.type", "none");
    keys.set_uint("attention.sliding_window", model.window);
    std::vector<bool> pattern;
    for (const LayerConfig& layer : model.layers) pattern.push_back(layer.sliding);
    keys.set_bools("attention.sliding_window_pattern", pattern);
}
static constexpr std::string_view kCohere2Classes[] = {"Cohere2ForCausalLM"};
static constexpr std::string_view kCohere2Types[] = {"cohere2"};
extern const Family kCohere2{.name = "Command-R7B",
                             .classes = kCohere2Classes,
                             .model_types = kCohere2Types,
                             .architecture = "cohere2",
                             .tensors = kCohereTensors,
                             .numbers = kCohereNumbers,
                             .activations = kSilu,
                             .tied_by_default = true,
                             .refine = refine_cohere2,
                             .more_keys = cohere2_keys};

}  // namespace ingot::converters

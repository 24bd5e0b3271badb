// Phi-2: one LayerNorm before attention and feed-forward side by side, biases everywhere, a part of each head
// rotated. Phi-3 to Phi-4: Llama's layers with fused projections, which GGUF's "phi3" keeps fused, and for
// long contexts two sets of rotary divisors.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kGelu[] = {"gelu_new", "gelu_pytorch_tanh", "gelu"};

static constexpr TensorRule kPhi2Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    kAttentionNormBias,
    query(),
    query_bias(always),
    key(),
    key_bias(always),
    kValue,
    value_bias(always),
    {"model.layers.{bid}.self_attn.dense.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}},
    {"model.layers.{bid}.self_attn.dense.bias", "blk.{bid}.attn_output.bias", {hidden}},
    {"model.layers.{bid}.mlp.fc1.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {"model.layers.{bid}.mlp.fc1.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {"model.layers.{bid}.mlp.fc2.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {"model.layers.{bid}.mlp.fc2.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    {"model.final_layernorm.weight", "output_norm.weight", {hidden}},
    {"model.final_layernorm.bias", "output_norm.bias", {hidden}},
    {"lm_head.weight", "output.weight", {hidden, vocabulary}},
    {"lm_head.bias", "output.bias", {vocabulary}},
};
static constexpr NumberRule kPhi2Numbers[] = {kContext, kLayerNormEpsilon};
static void check_phi2(const Json& config, ModelConfig&) {
    if (config.get_bool("qk_layernorm").value_or(false))
        fail("{}: \"qk_layernorm\" is true; Phi-2 in GGUF has no norms of queries and keys", config.where());
}
static constexpr std::string_view kPhi2Classes[] = {"PhiForCausalLM"};
static constexpr std::string_view kPhi2Types[] = {"phi"};
extern const Family kPhi2{.name = "Phi-2",
                          .classes = kPhi2Classes,
                          .model_types = kPhi2Types,
                          .architecture = "phi2",
                          .tensors = kPhi2Tensors,
                          .numbers = kPhi2Numbers,
                          .activations = kGelu,
                          .rotary_part = 0.5,
                          .feed_forward_factor = 4,
                          .refine = check_phi2};

static constexpr TensorRule kPhi3Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    {"model.layers.{bid}.self_attn.qkv_proj.weight", "blk.{bid}.attn_qkv.weight", {hidden, qkv_width}},
    kAttentionOutput,
    kFeedForwardNorm,
    {"model.layers.{bid}.mlp.gate_up_proj.weight", "blk.{bid}.ffn_up.weight", {hidden, twice_feed_forward}},
    kDown,
    kOutputNorm,
    kOutput,
};
static constexpr NumberRule kPhi3Numbers[] = {kContext, kEpsilon};
static void phi3_keys(const ModelConfig& model, const Json& config, Hyperparameters& keys) {
    keys.set_uint("attention.sliding_window", model.window);  // 0 says that there is none
    if (model.rope.kind == RopeScaling::Kind::None) {
        const auto original = config.get_uint("original_max_position_embeddings");
        keys.set_uint("rope.scaling.original_context_length", original.value_or(model.context));
    }
}
static constexpr std::string_view kPhi3Classes[] = {"Phi3ForCausalLM"};
static constexpr std::string_view kPhi3Types[] = {"phi3"};
extern const Family kPhi3{.name = "Phi-3",
                          .classes = kPhi3Classes,
                          .model_types = kPhi3Types,
                          .architecture = "phi3",
                          .tensors = kPhi3Tensors,
                          .numbers = kPhi3Numbers,
                          .activations = kSilu,
                          .more_keys = phi3_keys};

}  // namespace ingot::converters

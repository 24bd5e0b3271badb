// GLM-4: norms before and behind both parts of a layer, a fused gate, neighbours rotated in half of each
// head.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr TensorRule kGlm4Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(),
    query_bias(with_attention_bias),
    key(),
    key_bias(with_attention_bias),
    kValue,
    value_bias(with_attention_bias),
    kAttentionOutput,
    {"model.layers.{bid}.post_self_attn_layernorm.weight", "blk.{bid}.post_attention_norm.weight", {hidden}},
    kFeedForwardNorm,
    {"model.layers.{bid}.mlp.gate_up_proj.weight", "blk.{bid}.ffn_up.weight", {hidden, twice_feed_forward}},
    kDown,
    {"model.layers.{bid}.post_mlp_layernorm.weight", "blk.{bid}.post_ffw_norm.weight", {hidden}},
    kOutputNorm,
    kOutput,
};
static constexpr NumberRule kGlm4Numbers[] = {kContext, kEpsilon};
static constexpr std::string_view kGlm4Classes[] = {"Glm4ForCausalLM"};
static constexpr std::string_view kGlm4Types[] = {"glm4"};
extern const Family kGlm4{.name = "GLM-4",
                          .classes = kGlm4Classes,
                          .model_types = kGlm4Types,
                          .architecture = "glm4",
                          .tensors = kGlm4Tensors,
                          .numbers = kGlm4Numbers,
                          .activations = kSilu,
                          .rotary_part = 0.5};

}  // namespace ingot::converters

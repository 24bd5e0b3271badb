// StarCoder2: LayerNorms, biases everywhere, GELU without a gate.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kGelu[] = {"gelu_pytorch_tanh", "gelu_new", "gelu"};
static constexpr TensorRule kStarCoder2Tensors[] = {
    kEmbedding,
    kAttentionNorm,
    kAttentionNormBias,
    query(),
    query_bias(always),
    key(),
    key_bias(always),
    kValue,
    value_bias(always),
    kAttentionOutput,
    attention_output_bias(always),
    kFeedForwardNorm,
    kFeedForwardNormBias,
    {"model.layers.{bid}.mlp.c_fc.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {"model.layers.{bid}.mlp.c_fc.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {"model.layers.{bid}.mlp.c_proj.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {"model.layers.{bid}.mlp.c_proj.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    kOutputNorm,
    kOutputNormBias,
    kOutput,
};
static constexpr NumberRule kStarCoder2Numbers[] = {
    kContext,
    kLayerNormEpsilon,
    {"sliding_window", "attention.sliding_window", NumberKind::Uint32, {}, true}};
static constexpr std::string_view kStarCoder2Classes[] = {"Starcoder2ForCausalLM"};
static constexpr std::string_view kStarCoder2Types[] = {"starcoder2"};
extern const Family kStarCoder2{.name = "StarCoder2",
                                .classes = kStarCoder2Classes,
                                .model_types = kStarCoder2Types,
                                .architecture = "starcoder2",
                                .tensors = kStarCoder2Tensors,
                                .numbers = kStarCoder2Numbers,
                                .activations = kGelu,
                                .feed_forward_factor = 4,
                                .tied_by_default = true};

}  // namespace ingot::converters

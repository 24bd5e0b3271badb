// StableLM: LayerNorms, a part of each head rotated; the 12B has norms of each head's queries and keys and
// runs attention and feed-forward side by side.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr TensorRule kStableLmTensors[] = {
    kEmbedding,
    kAttentionNorm,
    kAttentionNormBias,
    query(),
    query_bias(optional),
    {"model.layers.{bid}.self_attn.q_layernorm.norms.{xid}.weight",
     "blk.{bid}.attn_q_norm.weight",
     {head_dim, n_heads},
     {},
     optional,
     n_heads},
    key(),
    key_bias(optional),
    {"model.layers.{bid}.self_attn.k_layernorm.norms.{xid}.weight",
     "blk.{bid}.attn_k_norm.weight",
     {head_dim, n_kv_heads},
     {},
     optional,
     n_kv_heads},
    kValue,
    value_bias(optional),
    kAttentionOutput,
    {"model.layers.{bid}.post_attention_layernorm.weight",
     "blk.{bid}.ffn_norm.weight",
     {hidden},
     {},
     optional},
    {"model.layers.{bid}.post_attention_layernorm.bias", "blk.{bid}.ffn_norm.bias", {hidden}, {}, optional},
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutputNormBias,
    kOutput,
    kTiedOutput,
};
static constexpr NumberRule kStableLmNumbers[] = {
    kContext, kLayerNormEpsilon, {"use_parallel_residual", "use_parallel_residual", NumberKind::Bool, 0}};
static constexpr std::string_view kStableLmClasses[] = {"StableLmForCausalLM", "StableLMEpochForCausalLM"};
static constexpr std::string_view kStableLmTypes[] = {"stablelm"};
extern const Family kStableLm{.name = "StableLM",
                              .classes = kStableLmClasses,
                              .model_types = kStableLmTypes,
                              .architecture = "stablelm",
                              .tensors = kStableLmTensors,
                              .numbers = kStableLmNumbers,
                              .activations = kSilu,
                              .rotary_part = 0.25};

}  // namespace ingot::converters

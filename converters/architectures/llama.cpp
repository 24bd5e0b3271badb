// Llama 1–3.x and what shares its class.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kClasses[] = {"LlamaForCausalLM"};

static constexpr auto kQueryOrder = RowOrder::InterleavedQueryHeads;
static constexpr auto kKeyOrder = RowOrder::InterleavedKvHeads;
static constexpr auto kBias = Presence::RequiredIfAttentionBias;
static constexpr auto kMlpBias = Presence::RequiredIfMlpBias;

static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(kQueryOrder),
    query_bias(kQueryOrder, kBias),
    key(kKeyOrder),
    key_bias(kKeyOrder, kBias),
    kValue,
    value_bias(kBias),
    kAttentionOutput,
    {"model.layers.{bid}.self_attn.o_proj.bias", "blk.{bid}.attn_output.bias", Dimension::Hidden,
     Dimension::None, RowOrder::Unchanged, kBias},
    kFeedForwardNorm,
    kGate,
    {"model.layers.{bid}.mlp.gate_proj.bias", "blk.{bid}.ffn_gate.bias", Dimension::FeedForward,
     Dimension::None, RowOrder::Unchanged, kMlpBias},
    kUp,
    {"model.layers.{bid}.mlp.up_proj.bias", "blk.{bid}.ffn_up.bias", Dimension::FeedForward, Dimension::None,
     RowOrder::Unchanged, kMlpBias},
    kDown,
    {"model.layers.{bid}.mlp.down_proj.bias", "blk.{bid}.ffn_down.bias", Dimension::Hidden, Dimension::None,
     RowOrder::Unchanged, kMlpBias},
    kOutputNorm,
    kOutput,
};

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

extern const Family kLlama{"Llama", kClasses, "llama", kTensors, kNumbers};

}  // namespace ingot::converters

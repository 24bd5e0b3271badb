// The GPT line: LayerNorms with biases, one fused matrix for queries, keys and values, GELU without a gate.
// GPT-2 learns its positions and stores matrices (in, out). GPT-NeoX (Pythia) rotates a part of each head and
// runs attention and feed-forward side by side; GPT-J too, with separate projections and one norm for both.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kGelu[] = {"gelu_new", "gelu", "gelu_fast", "gelu_pytorch_tanh"};
static constexpr NumberRule kPositionsNumber{"n_positions|n_ctx|max_position_embeddings", "context_length",
                                             NumberKind::Uint32};

static constexpr TensorRule kGpt2Tensors[] = {
    {"transformer.wte.weight", "token_embd.weight", {hidden, vocabulary}},
    {"transformer.wpe.weight", "position_embd.weight", {hidden, context}},
    {"transformer.h.{bid}.ln_1.weight", "blk.{bid}.attn_norm.weight", {hidden}},
    {"transformer.h.{bid}.ln_1.bias", "blk.{bid}.attn_norm.bias", {hidden}},
    {"transformer.h.{bid}.attn.c_attn.weight",
     "blk.{bid}.attn_qkv.weight",
     {hidden, qkv_width},
     {transposed}},
    {"transformer.h.{bid}.attn.c_attn.bias", "blk.{bid}.attn_qkv.bias", {qkv_width}},
    {"transformer.h.{bid}.attn.c_proj.weight",
     "blk.{bid}.attn_output.weight",
     {query_width, hidden},
     {transposed}},
    {"transformer.h.{bid}.attn.c_proj.bias", "blk.{bid}.attn_output.bias", {hidden}},
    {"transformer.h.{bid}.ln_2.weight", "blk.{bid}.ffn_norm.weight", {hidden}},
    {"transformer.h.{bid}.ln_2.bias", "blk.{bid}.ffn_norm.bias", {hidden}},
    {"transformer.h.{bid}.mlp.c_fc.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}, {transposed}},
    {"transformer.h.{bid}.mlp.c_fc.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {"transformer.h.{bid}.mlp.c_proj.weight",
     "blk.{bid}.ffn_down.weight",
     {feed_forward, hidden},
     {transposed}},
    {"transformer.h.{bid}.mlp.c_proj.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    {"transformer.ln_f.weight", "output_norm.weight", {hidden}},
    {"transformer.ln_f.bias", "output_norm.bias", {hidden}},
    kOutput,
};
static constexpr NumberRule kGpt2Numbers[] = {kPositionsNumber, kLayerNormEpsilon};
static constexpr std::string_view kGpt2Classes[] = {"GPT2LMHeadModel"};
static constexpr std::string_view kGpt2Types[] = {"gpt2"};
extern const Family kGpt2{.name = "GPT-2",
                          .classes = kGpt2Classes,
                          .model_types = kGpt2Types,
                          .architecture = "gpt2",
                          .tensors = kGpt2Tensors,
                          .numbers = kGpt2Numbers,
                          .activations = kGelu,
                          .prefix = "transformer.",
                          .positions = Positions::Other,
                          .feed_forward_factor = 4,
                          .tied_by_default = true};

#define NEOX "gpt_neox.layers.{bid}."
static constexpr TensorRule kGptNeoxTensors[] = {
    {"gpt_neox.embed_in.weight", "token_embd.weight", {hidden, vocabulary}},
    {NEOX "input_layernorm.weight", "blk.{bid}.attn_norm.weight", {hidden}},
    {NEOX "input_layernorm.bias", "blk.{bid}.attn_norm.bias", {hidden}},
    {NEOX "attention.query_key_value.weight",
     "blk.{bid}.attn_qkv.weight",
     {hidden, qkv_width},
     {ungroup_qkv}},
    {NEOX "attention.query_key_value.bias", "blk.{bid}.attn_qkv.bias", {qkv_width}, {ungroup_qkv}},
    {NEOX "attention.dense.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}},
    {NEOX "attention.dense.bias", "blk.{bid}.attn_output.bias", {hidden}},
    {NEOX "post_attention_layernorm.weight", "blk.{bid}.ffn_norm.weight", {hidden}},
    {NEOX "post_attention_layernorm.bias", "blk.{bid}.ffn_norm.bias", {hidden}},
    {NEOX "mlp.dense_h_to_4h.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {NEOX "mlp.dense_h_to_4h.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {NEOX "mlp.dense_4h_to_h.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {NEOX "mlp.dense_4h_to_h.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    {"gpt_neox.final_layer_norm.weight", "output_norm.weight", {hidden}},
    {"gpt_neox.final_layer_norm.bias", "output_norm.bias", {hidden}},
    {"embed_out.weight", "output.weight", {hidden, vocabulary}, {}, if_untied},
    {"lm_head.weight", "output.weight", {hidden, vocabulary}, {}, if_untied},
    {"gpt_neox.embed_in.weight", "output.weight", {hidden, vocabulary}, {}, if_tied},
};
#undef NEOX
static constexpr NumberRule kGptNeoxNumbers[] = {
    kContext, kLayerNormEpsilon, {"use_parallel_residual", "use_parallel_residual", NumberKind::Bool, 1}};
static constexpr std::string_view kGptNeoxClasses[] = {"GPTNeoXForCausalLM"};
static constexpr std::string_view kGptNeoxTypes[] = {"gpt_neox"};
static constexpr std::string_view kGptNeoxLeftOut[] = {".attention.rotary_emb."};
extern const Family kGptNeox{.name = "GPT-NeoX",
                             .classes = kGptNeoxClasses,
                             .model_types = kGptNeoxTypes,
                             .architecture = "gptneox",
                             .tensors = kGptNeoxTensors,
                             .numbers = kGptNeoxNumbers,
                             .activations = kGelu,
                             .prefix = "gpt_neox.",
                             .rotary_part = 0.25,
                             .left_out = kGptNeoxLeftOut};

static constexpr TensorRule kGptJTensors[] = {
    {"transformer.wte.weight", "token_embd.weight", {hidden, vocabulary}},
    {"transformer.h.{bid}.ln_1.weight", "blk.{bid}.attn_norm.weight", {hidden}},
    {"transformer.h.{bid}.ln_1.bias", "blk.{bid}.attn_norm.bias", {hidden}},
    {"transformer.h.{bid}.attn.q_proj.weight", "blk.{bid}.attn_q.weight", {hidden, query_width}},
    {"transformer.h.{bid}.attn.k_proj.weight", "blk.{bid}.attn_k.weight", {hidden, kv_width}},
    {"transformer.h.{bid}.attn.v_proj.weight", "blk.{bid}.attn_v.weight", {hidden, kv_width}},
    {"transformer.h.{bid}.attn.out_proj.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}},
    {"transformer.h.{bid}.mlp.fc_in.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {"transformer.h.{bid}.mlp.fc_in.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {"transformer.h.{bid}.mlp.fc_out.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {"transformer.h.{bid}.mlp.fc_out.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    {"transformer.ln_f.weight", "output_norm.weight", {hidden}},
    {"transformer.ln_f.bias", "output_norm.bias", {hidden}},
    kOutput,
    {"lm_head.bias", "output.bias", {vocabulary}},
};
static constexpr NumberRule kGptJNumbers[] = {kPositionsNumber, kLayerNormEpsilon};
static constexpr std::string_view kGptJClasses[] = {"GPTJForCausalLM"};
static constexpr std::string_view kGptJTypes[] = {"gptj"};
extern const Family kGptJ{.name = "GPT-J",
                          .classes = kGptJClasses,
                          .model_types = kGptJTypes,
                          .architecture = "gptj",
                          .tensors = kGptJTensors,
                          .numbers = kGptJNumbers,
                          .activations = kGelu,
                          .prefix = "transformer.",
                          .feed_forward_factor = 4};

}  // namespace ingot::converters

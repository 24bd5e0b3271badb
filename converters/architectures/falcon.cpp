// Falcon, MPT and BLOOM: LayerNorms, a fused projection in three layouts, GELU without a gate. Falcon rotates
// and runs attention and feed-forward side by side, the 40B with a norm for each; MPT and BLOOM add a bias to
// the scores that grows with the distance (ALiBi).
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kGelu[] = {"gelu"};
static constexpr std::string_view kBloomGelu[] = {"gelu_pytorch_tanh", "gelu",
                                                  "gelu_new"};  // by tanh, whatever it says

static bool norm_for_each(const ModelConfig& model, uint64_t) {
    return model.norm_for_each;
}
static bool norm_for_both(const ModelConfig& model, uint64_t) {
    return !model.norm_for_each;
}

#define LAYER "transformer.h.{bid}."
static constexpr TensorRule kFalconTensors[] = {
    {"transformer.word_embeddings.weight", "token_embd.weight", {hidden, vocabulary}},
    // The 40B: attn_norm is the feed-forward's, attn_norm_2 attention's.
    {LAYER "ln_attn.weight", "blk.{bid}.attn_norm_2.weight", {hidden}, {}, norm_for_each},
    {LAYER "ln_attn.bias", "blk.{bid}.attn_norm_2.bias", {hidden}, {}, norm_for_each},
    {LAYER "ln_mlp.weight", "blk.{bid}.attn_norm.weight", {hidden}, {}, norm_for_each},
    {LAYER "input_layernorm.weight", "blk.{bid}.attn_norm.weight", {hidden}, {}, norm_for_both},
    {LAYER "ln_mlp.bias", "blk.{bid}.attn_norm.bias", {hidden}, {}, norm_for_each},
    {LAYER "input_layernorm.bias", "blk.{bid}.attn_norm.bias", {hidden}, {}, norm_for_both},
    {LAYER "self_attention.query_key_value.weight",
     "blk.{bid}.attn_qkv.weight",
     {hidden, qkv_width},
     {ungroup_qkv}},
    {LAYER "self_attention.dense.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}},
    {LAYER "mlp.dense_h_to_4h.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {LAYER "mlp.dense_4h_to_h.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {"transformer.ln_f.weight", "output_norm.weight", {hidden}},
    {"transformer.ln_f.bias", "output_norm.bias", {hidden}},
    kOutput,
};
static constexpr NumberRule kFalconNumbers[] = {
    {"max_position_embeddings", "context_length", NumberKind::Uint32, 2048}, kLayerNormEpsilon};
static void refine_falcon(const Json& config, ModelConfig& model) {
    const auto truth = [&](const char* key, bool fallback) {
        return config.get_bool(key).value_or(fallback);
    };
    const bool grouped = truth("new_decoder_architecture", false);
    if (truth("alibi", false) || truth("bias", false) || !truth("parallel_attn", true)) {
        fail(
            "{}: a Falcon with ALiBi, biases or attention before the feed-forward (Falcon-RW); GGUF's has a "
            "rotation, "
            "no biases, and both side by side",
            config.where());
    }
    // Old configs say how many KV heads there are only by multi_query: one.
    if (!grouped) model.n_kv_heads = truth("multi_query", true) ? 1 : model.n_heads;
    for (LayerConfig& layer : model.layers) layer.n_kv_heads = model.n_kv_heads;
    model.norm_for_each = config.get_uint("num_ln_in_parallel_attn").value_or(grouped ? 2 : 1) == 2;
}
static constexpr std::string_view kFalconClasses[] = {"FalconForCausalLM", "RWForCausalLM"};
static constexpr std::string_view kFalconTypes[] = {"falcon", "RefinedWeb", "RefinedWebModel"};
extern const Family kFalcon{.name = "Falcon",
                            .classes = kFalconClasses,
                            .model_types = kFalconTypes,
                            .architecture = "falcon",
                            .tensors = kFalconTensors,
                            .numbers = kFalconNumbers,
                            .activations = kGelu,
                            .prefix = "transformer.",
                            .feed_forward_factor = 4,
                            .tied_by_default = true,
                            .refine = refine_falcon};

static constexpr TensorRule kBloomTensors[] = {
    {"transformer.word_embeddings.weight", "token_embd.weight", {hidden, vocabulary}},
    {"transformer.word_embeddings_layernorm.weight", "token_embd_norm.weight", {hidden}},
    {"transformer.word_embeddings_layernorm.bias", "token_embd_norm.bias", {hidden}},
    {LAYER "input_layernorm.weight", "blk.{bid}.attn_norm.weight", {hidden}},
    {LAYER "input_layernorm.bias", "blk.{bid}.attn_norm.bias", {hidden}},
    {LAYER "self_attention.query_key_value.weight",
     "blk.{bid}.attn_qkv.weight",
     {hidden, qkv_width},
     {ungroup_qkv}},
    {LAYER "self_attention.query_key_value.bias", "blk.{bid}.attn_qkv.bias", {qkv_width}, {ungroup_qkv}},
    {LAYER "self_attention.dense.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}},
    {LAYER "self_attention.dense.bias", "blk.{bid}.attn_output.bias", {hidden}},
    {LAYER "post_attention_layernorm.weight", "blk.{bid}.ffn_norm.weight", {hidden}},
    {LAYER "post_attention_layernorm.bias", "blk.{bid}.ffn_norm.bias", {hidden}},
    {LAYER "mlp.dense_h_to_4h.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {LAYER "mlp.dense_h_to_4h.bias", "blk.{bid}.ffn_up.bias", {feed_forward}},
    {LAYER "mlp.dense_4h_to_h.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {LAYER "mlp.dense_4h_to_h.bias", "blk.{bid}.ffn_down.bias", {hidden}},
    {"transformer.ln_f.weight", "output_norm.weight", {hidden}},
    {"transformer.ln_f.bias", "output_norm.bias", {hidden}},
    kOutput,
};
#undef LAYER
static constexpr NumberRule kBloomNumbers[] = {{"seq_length", "context_length", NumberKind::Uint32, 2048},
                                               kLayerNormEpsilon};
static constexpr std::string_view kBloomClasses[] = {"BloomForCausalLM", "BloomModel"};
static constexpr std::string_view kBloomTypes[] = {"bloom"};
extern const Family kBloom{.name = "BLOOM",
                           .classes = kBloomClasses,
                           .model_types = kBloomTypes,
                           .architecture = "bloom",
                           .tensors = kBloomTensors,
                           .numbers = kBloomNumbers,
                           .activations = kBloomGelu,
                           .prefix = "transformer.",
                           .positions = Positions::Other,
                           .feed_forward_factor = 4,
                           .tied_by_default = true};

#define BLOCK "transformer.blocks.{bid}."
static constexpr TensorRule kMptTensors[] = {
    {"transformer.wte.weight", "token_embd.weight", {hidden, vocabulary}},
    {BLOCK "norm_1.weight", "blk.{bid}.attn_norm.weight", {hidden}},
    {BLOCK "norm_1.bias", "blk.{bid}.attn_norm.bias", {hidden}, {}, optional},
    {BLOCK "attn.Wqkv.weight", "blk.{bid}.attn_qkv.weight", {hidden, qkv_width}},
    {BLOCK "attn.Wqkv.bias", "blk.{bid}.attn_qkv.bias", {qkv_width}, {}, optional},
    {BLOCK "attn.out_proj.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}},
    {BLOCK "attn.out_proj.bias", "blk.{bid}.attn_output.bias", {hidden}, {}, optional},
    {BLOCK "norm_2.weight", "blk.{bid}.ffn_norm.weight", {hidden}},
    {BLOCK "norm_2.bias", "blk.{bid}.ffn_norm.bias", {hidden}, {}, optional},
    {BLOCK "ffn.up_proj.weight", "blk.{bid}.ffn_up.weight", {hidden, feed_forward}},
    {BLOCK "ffn.up_proj.bias", "blk.{bid}.ffn_up.bias", {feed_forward}, {}, optional},
    {BLOCK "ffn.down_proj.weight", "blk.{bid}.ffn_down.weight", {feed_forward, hidden}},
    {BLOCK "ffn.down_proj.bias", "blk.{bid}.ffn_down.bias", {hidden}, {}, optional},
    {"transformer.norm_f.weight", "output_norm.weight", {hidden}},
    {"transformer.norm_f.bias", "output_norm.bias", {hidden}, {}, optional},
    kOutput,
};
#undef BLOCK
static constexpr NumberRule kMptNumbers[] = {
    {"max_seq_len", "context_length", NumberKind::Uint32, 2048},
    {"layer_norm_epsilon", "attention.layer_norm_epsilon", NumberKind::Float32, 1e-5}};
static void refine_mpt(const Json& config, ModelConfig& model) {
    const auto factor = config.get_number("expansion_ratio").value_or(4);
    if (!(factor > 0 && factor < 1024)) fail("{}: \"expansion_ratio\" is {}", config.where(), factor);
    model.feed_forward = uint64_t(factor * double(model.hidden));
    const Json* attention = config.get_object("attn_config");
    if (attention && attention->get_bool("qk_ln").value_or(false))
        fail("{}: \"qk_ln\" is true; norms of all queries together are not supported", attention->where());
    if (attention && attention->get_bool("alibi").value_or(false) == false)
        fail("{}: \"alibi\" is false; an MPT with learned positions is not supported", attention->where());
    const auto kv_heads = attention ? attention->get_uint("kv_n_heads") : std::nullopt;
    if (kv_heads) model.n_kv_heads = *kv_heads;
    for (LayerConfig& layer : model.layers) {
        layer.feed_forward = model.feed_forward;
        layer.n_kv_heads = model.n_kv_heads;
    }
}
static void mpt_keys(const ModelConfig&, const Json& config, Hyperparameters& keys) {
    const Json* attention = config.get_object("attn_config");
    const auto clamp = attention ? attention->get_number("clip_qkv") : std::nullopt;
    if (clamp) keys.set_float("attention.clamp_kqv", *clamp);
    const auto bias = attention ? attention->get_number("alibi_bias_max") : std::nullopt;
    keys.set_float("attention.max_alibi_bias", bias.value_or(8));
}
static constexpr std::string_view kMptClasses[] = {"MPTForCausalLM", "MptForCausalLM"};
static constexpr std::string_view kMptTypes[] = {"mpt"};
extern const Family kMpt{.name = "MPT",
                         .classes = kMptClasses,
                         .model_types = kMptTypes,
                         .architecture = "mpt",
                         .tensors = kMptTensors,
                         .numbers = kMptNumbers,
                         .activations = kGelu,
                         .prefix = "transformer.",
                         .positions = Positions::Other,
                         .feed_forward_factor = 4,
                         .tied_by_default = true,
                         .refine = refine_mpt,
                         .more_keys = mpt_keys};

}  // namespace ingot::converters

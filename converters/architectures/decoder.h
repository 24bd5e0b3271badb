#pragma once
// The rows that Llama-shaped decoders share. A family's table is these and its own.
#include "converters/architectures/terms.h"

namespace ingot::converters::decoder {

using namespace terms;

inline constexpr TensorRule kEmbedding{
    "model.embed_tokens.weight", "token_embd.weight", {hidden, vocabulary}};
inline constexpr TensorRule kOutputNorm{"model.norm.weight", "output_norm.weight", {hidden}};
inline constexpr TensorRule kOutputNormBias{"model.norm.bias", "output_norm.bias", {hidden}};
inline constexpr TensorRule kOutput{"lm_head.weight", "output.weight", {hidden, vocabulary}, {}, if_untied};
inline constexpr TensorRule kTiedOutput{
    "model.embed_tokens.weight", "output.weight", {hidden, vocabulary}, {}, if_tied};

inline constexpr TensorRule kAttentionNorm{
    "model.layers.{bid}.input_layernorm.weight", "blk.{bid}.attn_norm.weight", {hidden}};
inline constexpr TensorRule kAttentionNormBias{
    "model.layers.{bid}.input_layernorm.bias", "blk.{bid}.attn_norm.bias", {hidden}};
inline constexpr TensorRule kFeedForwardNorm{
    "model.layers.{bid}.post_attention_layernorm.weight", "blk.{bid}.ffn_norm.weight", {hidden}};
inline constexpr TensorRule kFeedForwardNormBias{
    "model.layers.{bid}.post_attention_layernorm.bias", "blk.{bid}.ffn_norm.bias", {hidden}};

/// GGUF's "llama" and its kin rotate neighbours; most other architectures rotate as Hugging Face does.
constexpr TensorRule query(Step order = nullptr) {
    return {"model.layers.{bid}.self_attn.q_proj.weight",
            "blk.{bid}.attn_q.weight",
            {hidden, query_width},
            {order}};
}
constexpr TensorRule key(Step order = nullptr) {
    return {
        "model.layers.{bid}.self_attn.k_proj.weight", "blk.{bid}.attn_k.weight", {hidden, kv_width}, {order}};
}
inline constexpr TensorRule kValue{
    "model.layers.{bid}.self_attn.v_proj.weight", "blk.{bid}.attn_v.weight", {hidden, kv_width}};
inline constexpr TensorRule kAttentionOutput{
    "model.layers.{bid}.self_attn.o_proj.weight", "blk.{bid}.attn_output.weight", {query_width, hidden}};

constexpr TensorRule query_bias(Condition required, Step order = nullptr) {
    return {"model.layers.{bid}.self_attn.q_proj.bias",
            "blk.{bid}.attn_q.bias",
            {query_width},
            {order},
            required};
}
constexpr TensorRule key_bias(Condition required, Step order = nullptr) {
    return {
        "model.layers.{bid}.self_attn.k_proj.bias", "blk.{bid}.attn_k.bias", {kv_width}, {order}, required};
}
constexpr TensorRule value_bias(Condition required) {
    return {"model.layers.{bid}.self_attn.v_proj.bias", "blk.{bid}.attn_v.bias", {kv_width}, {}, required};
}
constexpr TensorRule attention_output_bias(Condition required) {
    return {"model.layers.{bid}.self_attn.o_proj.bias", "blk.{bid}.attn_output.bias", {hidden}, {}, required};
}
constexpr TensorRule query_norm(Size width, Step step = nullptr) {
    return {"model.layers.{bid}.self_attn.q_norm.weight", "blk.{bid}.attn_q_norm.weight", {width}, {step}};
}
constexpr TensorRule key_norm(Size width, Step step = nullptr) {
    return {"model.layers.{bid}.self_attn.k_norm.weight", "blk.{bid}.attn_k_norm.weight", {width}, {step}};
}

constexpr TensorRule gate(Condition required) {
    return {"model.layers.{bid}.mlp.gate_proj.weight",
            "blk.{bid}.ffn_gate.weight",
            {hidden, feed_forward},
            {},
            required};
}
constexpr TensorRule up(Condition required) {
    return {"model.layers.{bid}.mlp.up_proj.weight",
            "blk.{bid}.ffn_up.weight",
            {hidden, feed_forward},
            {},
            required};
}
constexpr TensorRule down(Condition required) {
    return {"model.layers.{bid}.mlp.down_proj.weight",
            "blk.{bid}.ffn_down.weight",
            {feed_forward, hidden},
            {},
            required};
}
inline constexpr TensorRule kGate = gate(always), kUp = up(always), kDown = down(always);

// Experts: one tensor for each, or fused ones of all, as transformers 5 keeps them in memory.
inline constexpr TensorRule kRouter{"model.layers.{bid}.mlp.gate.weight",
                                    "blk.{bid}.ffn_gate_inp.weight",
                                    {hidden, n_experts},
                                    {},
                                    in_expert_layers};
inline constexpr TensorRule kExpertGates{"model.layers.{bid}.mlp.experts.{xid}.gate_proj.weight",
                                         "blk.{bid}.ffn_gate_exps.weight",
                                         {hidden, expert_feed_forward, n_experts},
                                         {},
                                         in_expert_layers,
                                         n_experts};
inline constexpr TensorRule kExpertUps{"model.layers.{bid}.mlp.experts.{xid}.up_proj.weight",
                                       "blk.{bid}.ffn_up_exps.weight",
                                       {hidden, expert_feed_forward, n_experts},
                                       {},
                                       in_expert_layers,
                                       n_experts};
inline constexpr TensorRule kExpertDowns{"model.layers.{bid}.mlp.experts.{xid}.down_proj.weight",
                                         "blk.{bid}.ffn_down_exps.weight",
                                         {expert_feed_forward, hidden, n_experts},
                                         {},
                                         in_expert_layers,
                                         n_experts};
inline constexpr TensorRule kFusedExpertGates{"model.layers.{bid}.mlp.experts.gate_up_proj",
                                              "blk.{bid}.ffn_gate_exps.weight",
                                              {hidden, expert_feed_forward, n_experts},
                                              {first_half},
                                              in_expert_layers};
inline constexpr TensorRule kFusedExpertUps{"model.layers.{bid}.mlp.experts.gate_up_proj",
                                            "blk.{bid}.ffn_up_exps.weight",
                                            {hidden, expert_feed_forward, n_experts},
                                            {second_half},
                                            in_expert_layers};
inline constexpr TensorRule kFusedExpertDowns{"model.layers.{bid}.mlp.experts.down_proj",
                                              "blk.{bid}.ffn_down_exps.weight",
                                              {expert_feed_forward, hidden, n_experts},
                                              {},
                                              in_expert_layers};

inline constexpr NumberRule kContext{"max_position_embeddings", "context_length", NumberKind::Uint32};
inline constexpr NumberRule kEpsilon{"rms_norm_eps", "attention.layer_norm_rms_epsilon", NumberKind::Float32,
                                     1e-6};
inline constexpr NumberRule kLayerNormEpsilon{"layer_norm_eps|layer_norm_epsilon|norm_epsilon",
                                              "attention.layer_norm_epsilon", NumberKind::Float32, 1e-5};

inline constexpr std::string_view kSilu[] = {"silu", "swish"};

}  // namespace ingot::converters::decoder

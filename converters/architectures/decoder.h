#pragma once
// The rows that Llama-shaped decoders share. A family's table is these and its own.
#include "converters/architectures/family.h"

namespace ingot::converters::decoder {

inline constexpr TensorRule kEmbedding{"model.embed_tokens.weight", "token_embd.weight", Dimension::Hidden,
                                       Dimension::Vocabulary};
inline constexpr TensorRule kOutputNorm{"model.norm.weight", "output_norm.weight", Dimension::Hidden};
inline constexpr TensorRule kOutput{"lm_head.weight",      "output.weight",     Dimension::Hidden,
                                    Dimension::Vocabulary, RowOrder::Unchanged, Presence::RequiredIfUntied};

inline constexpr TensorRule kAttentionNorm{"model.layers.{bid}.input_layernorm.weight",
                                           "blk.{bid}.attn_norm.weight", Dimension::Hidden};
inline constexpr TensorRule kFeedForwardNorm{"model.layers.{bid}.post_attention_layernorm.weight",
                                             "blk.{bid}.ffn_norm.weight", Dimension::Hidden};

constexpr TensorRule query(RowOrder order) {
    return {"model.layers.{bid}.self_attn.q_proj.weight", "blk.{bid}.attn_q.weight", Dimension::Hidden,
            Dimension::QueryWidth, order};
}
constexpr TensorRule key(RowOrder order) {
    return {"model.layers.{bid}.self_attn.k_proj.weight", "blk.{bid}.attn_k.weight", Dimension::Hidden,
            Dimension::KvWidth, order};
}
inline constexpr TensorRule kValue{"model.layers.{bid}.self_attn.v_proj.weight", "blk.{bid}.attn_v.weight",
                                   Dimension::Hidden, Dimension::KvWidth};
inline constexpr TensorRule kAttentionOutput{"model.layers.{bid}.self_attn.o_proj.weight",
                                             "blk.{bid}.attn_output.weight", Dimension::QueryWidth,
                                             Dimension::Hidden};

constexpr TensorRule query_bias(RowOrder order, Presence presence) {
    return {"model.layers.{bid}.self_attn.q_proj.bias",
            "blk.{bid}.attn_q.bias",
            Dimension::QueryWidth,
            Dimension::None,
            order,
            presence};
}
constexpr TensorRule key_bias(RowOrder order, Presence presence) {
    return {"model.layers.{bid}.self_attn.k_proj.bias",
            "blk.{bid}.attn_k.bias",
            Dimension::KvWidth,
            Dimension::None,
            order,
            presence};
}
constexpr TensorRule value_bias(Presence presence) {
    return {"model.layers.{bid}.self_attn.v_proj.bias",
            "blk.{bid}.attn_v.bias",
            Dimension::KvWidth,
            Dimension::None,
            RowOrder::Unchanged,
            presence};
}

inline constexpr TensorRule kGate{"model.layers.{bid}.mlp.gate_proj.weight", "blk.{bid}.ffn_gate.weight",
                                  Dimension::Hidden, Dimension::FeedForward};
inline constexpr TensorRule kUp{"model.layers.{bid}.mlp.up_proj.weight", "blk.{bid}.ffn_up.weight",
                                Dimension::Hidden, Dimension::FeedForward};
inline constexpr TensorRule kDown{"model.layers.{bid}.mlp.down_proj.weight", "blk.{bid}.ffn_down.weight",
                                  Dimension::FeedForward, Dimension::Hidden};

// Numbers with a meaning of their own (heads, rope) are in hyperparameters.cpp; these are copied.
inline constexpr NumberRule kContext{"max_position_embeddings", "context_length", NumberKind::Uint32, {}};
inline constexpr NumberRule kEpsilon{"rms_norm_eps", "attention.layer_norm_rms_epsilon", NumberKind::Float32,
                                     1e-6};

}  // namespace ingot::converters::decoder

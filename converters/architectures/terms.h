#pragma once
// The words that the rows of several families share: dimensions, conditions, and what is done to a tensor.
#include "converters/architectures/family.h"
#include "converters/architectures/model_config.h"
#include "converters/rows/transforms.h"

namespace ingot::converters::terms {

// Dimensions, in elements.
uint64_t hidden(const ModelConfig&, uint64_t layer);
uint64_t vocabulary(const ModelConfig&, uint64_t layer);
uint64_t context(const ModelConfig&, uint64_t layer);
uint64_t feed_forward(const ModelConfig&, uint64_t layer);
uint64_t twice_feed_forward(const ModelConfig&, uint64_t layer);
uint64_t n_heads(const ModelConfig&, uint64_t layer);
uint64_t n_kv_heads(const ModelConfig&, uint64_t layer);
uint64_t head_dim(const ModelConfig&, uint64_t layer);
uint64_t query_width(const ModelConfig&, uint64_t layer);        // of all heads together
uint64_t twice_query_width(const ModelConfig&, uint64_t layer);  // with a gate beside each query
uint64_t kv_width(const ModelConfig&, uint64_t layer);
uint64_t qkv_width(const ModelConfig&, uint64_t layer);  // queries, keys and values
uint64_t n_experts(const ModelConfig&, uint64_t layer);
uint64_t expert_feed_forward(const ModelConfig&, uint64_t layer);
uint64_t twice_expert_feed_forward(const ModelConfig&, uint64_t layer);
uint64_t shared_feed_forward(const ModelConfig&, uint64_t layer);
uint64_t one(const ModelConfig&, uint64_t layer);

// Conditions. `if_untied` is special: a tensor that is there although the model is tied is left out.
bool optional(const ModelConfig&, uint64_t layer);
bool if_untied(const ModelConfig&, uint64_t layer);
/// Special too: otherwise the rule is not asked. For readers that want an output matrix even when it is the
/// embedding.
bool if_tied(const ModelConfig&, uint64_t layer);
bool with_attention_bias(const ModelConfig&, uint64_t layer);
bool with_mlp_bias(const ModelConfig&, uint64_t layer);
bool in_attention_layers(const ModelConfig&, uint64_t layer);
bool in_recurrent_layers(const ModelConfig&, uint64_t layer);
bool in_dense_layers(const ModelConfig&, uint64_t layer);
bool in_expert_layers(const ModelConfig&, uint64_t layer);
bool with_shared_experts(const ModelConfig&, uint64_t layer);

// Steps. Each checks that the tensor has the rows it needs and throws Error when not.
/// From Hugging Face's pairs (i, i + d/2) to GGUF's "llama" pairs (2i, 2i + 1), in the rotated part of a
/// head.
RowsPtr interleave_queries(RowsPtr rows, const ModelConfig&, uint64_t layer);
RowsPtr interleave_keys(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// Fused projections that go head by head, or KV head by KV head with its queries in front: all queries, then
/// all keys, then all values. For biases too.
RowsPtr ungroup_qkv(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// The upper or lower half of the rows of each matrix: gate and up of a fused tensor.
RowsPtr first_half(RowsPtr rows, const ModelConfig&, uint64_t layer);
RowsPtr second_half(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// Rows 0, 2, 4 … or 1, 3, 5 … of each matrix.
RowsPtr even_rows(RowsPtr rows, const ModelConfig&, uint64_t layer);
RowsPtr odd_rows(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// Elements 0, 2, 4 … or 1, 3, 5 … of each row. For small tensors.
RowsPtr even_columns(RowsPtr rows, const ModelConfig&, uint64_t layer);
RowsPtr odd_columns(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// (out, in) instead of (in, out), in each matrix.
RowsPtr transposed(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// Gemma and others store a norm's weights as their difference from one.
RowsPtr plus_one(RowsPtr rows, const ModelConfig&, uint64_t layer);
/// A matrix of one row as a vector.
RowsPtr as_vector(RowsPtr rows, const ModelConfig&, uint64_t layer);

/// Rows of each matrix: row i of the result is row source_row(i) of the source's matrix. For vectors,
/// elements.
RowsPtr select_in_matrices(RowsPtr rows, uint64_t n_rows,
                           const std::function<uint64_t(uint64_t)>& source_row);
/// Throws Error unless each matrix has `n` rows (a vector: elements).
void expect_rows(const TensorRows& rows, uint64_t n);

}  // namespace ingot::converters::terms

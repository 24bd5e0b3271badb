#include "converters/architectures/terms.h"

#include "format/error.h"

namespace ingot::converters {

bool always(const ModelConfig&, uint64_t) {
    return true;
}

namespace terms {

uint64_t hidden(const ModelConfig& model, uint64_t) {
    return model.hidden;
}
uint64_t vocabulary(const ModelConfig& model, uint64_t) {
    return model.vocabulary;
}
uint64_t context(const ModelConfig& model, uint64_t) {
    return model.context;
}
uint64_t feed_forward(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).feed_forward;
}
uint64_t twice_feed_forward(const ModelConfig& model, uint64_t layer) {
    return 2 * model.layer(layer).feed_forward;
}
uint64_t n_heads(const ModelConfig& model, uint64_t) {
    return model.n_heads;
}
uint64_t n_kv_heads(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).n_kv_heads;
}
uint64_t head_dim(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).head_dim;
}
uint64_t query_width(const ModelConfig& model, uint64_t layer) {
    return model.n_heads * model.layer(layer).head_dim;
}
uint64_t twice_query_width(const ModelConfig& model, uint64_t layer) {
    return 2 * query_width(model, layer);
}
uint64_t kv_width(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).n_kv_heads * model.layer(layer).head_dim;
}
uint64_t qkv_width(const ModelConfig& model, uint64_t layer) {
    return query_width(model, layer) + 2 * kv_width(model, layer);
}
uint64_t n_experts(const ModelConfig& model, uint64_t) {
    return model.experts.n;
}
uint64_t expert_feed_forward(const ModelConfig& model, uint64_t) {
    return model.experts.feed_forward;
}
uint64_t twice_expert_feed_forward(const ModelConfig& model, uint64_t) {
    return 2 * model.experts.feed_forward;
}
uint64_t shared_feed_forward(const ModelConfig& model, uint64_t) {
    return model.experts.shared_feed_forward;
}
uint64_t one(const ModelConfig&, uint64_t) {
    return 1;
}

bool optional(const ModelConfig&, uint64_t) {
    return false;
}
bool if_untied(const ModelConfig& model, uint64_t) {
    return !model.tied_output;
}
bool if_tied(const ModelConfig& model, uint64_t) {
    return model.tied_output;
}
bool with_attention_bias(const ModelConfig& model, uint64_t) {
    return model.attention_bias;
}
bool with_mlp_bias(const ModelConfig& model, uint64_t) {
    return model.mlp_bias;
}
bool in_attention_layers(const ModelConfig& model, uint64_t layer) {
    return !model.layer(layer).recurrent;
}
bool in_recurrent_layers(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).recurrent;
}
bool in_dense_layers(const ModelConfig& model, uint64_t layer) {
    return !model.layer(layer).experts;
}
bool in_expert_layers(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).experts;
}
bool with_shared_experts(const ModelConfig& model, uint64_t layer) {
    return model.layer(layer).experts && model.experts.shared_feed_forward > 0;
}

namespace {

uint64_t matrix_rows(const TensorRows& rows) {
    const std::vector<uint64_t>& shape = rows.shape();
    return shape.size() < 2 ? rows.n_elements() : shape[1];
}

RowsPtr interleave(RowsPtr rows, uint64_t n, uint64_t head_rows, uint64_t rotated_rows) {
    expect_rows(*rows, n * head_rows);
    return select_rows(std::move(rows), n * head_rows, [head_rows, rotated_rows](uint64_t row) {
        const uint64_t in_head = row % head_rows;
        return row - in_head +
               (in_head < rotated_rows ? interleaved_source_row(in_head, rotated_rows) : in_head);
    });
}

RowsPtr every_other_row(RowsPtr rows, uint64_t first) {
    const uint64_t n = matrix_rows(*rows);
    if (n % 2 != 0) fail("tensor \"{}\" has {} rows; expected pairs", rows->name(), n);
    return select_in_matrices(std::move(rows), n / 2, [first](uint64_t row) { return 2 * row + first; });
}

RowsPtr half(RowsPtr rows, uint64_t which) {
    const uint64_t n = matrix_rows(*rows) / 2;
    expect_rows(*rows, 2 * n);
    return select_in_matrices(std::move(rows), n, [first = which * n](uint64_t row) { return first + row; });
}

RowsPtr every_other_column(RowsPtr rows, uint64_t first) {
    std::vector<uint64_t> shape = rows->shape();
    if (shape.empty() || shape[0] % 2 != 0)
        fail("tensor \"{}\" has rows of {} elements; expected pairs", rows->name(), rows->row_elements());
    const uint64_t n = rows->n_elements();
    shape[0] /= 2;
    RowsPtr elements = reshape(std::move(rows), {n});
    return reshape(select_rows(elements, n / 2, [first](uint64_t i) { return 2 * i + first; }), shape);
}

}  // namespace

void expect_rows(const TensorRows& rows, uint64_t n) {
    if (matrix_rows(rows) == n) return;
    fail("{} has shape [{}], but config.json implies {} rows", rows.name(),
         fmt::join(rows.shape().rbegin(), rows.shape().rend(), ", "), n);
}

RowsPtr select_in_matrices(RowsPtr rows, uint64_t n_rows,
                           const std::function<uint64_t(uint64_t)>& source_row) {
    std::vector<uint64_t> shape = rows->shape();
    if (shape.size() < 3) return select_rows(std::move(rows), n_rows, source_row);
    const uint64_t source_rows = shape[1];
    uint64_t total = n_rows;
    for (size_t i = 2; i < shape.size(); ++i) total *= shape[i];
    shape[1] = n_rows;
    return reshape(
        select_rows(std::move(rows), total,
                    [=](uint64_t row) { return row / n_rows * source_rows + source_row(row % n_rows); }),
        shape);
}

RowsPtr interleave_queries(RowsPtr rows, const ModelConfig& model, uint64_t layer) {
    return interleave(std::move(rows), model.n_heads, head_dim(model, layer), model.rotary_dim);
}
RowsPtr interleave_keys(RowsPtr rows, const ModelConfig& model, uint64_t layer) {
    return interleave(std::move(rows), n_kv_heads(model, layer), head_dim(model, layer), model.rotary_dim);
}

RowsPtr ungroup_qkv(RowsPtr rows, const ModelConfig& model, uint64_t layer) {
    const uint64_t dim = head_dim(model, layer), groups = n_kv_heads(model, layer);
    const uint64_t queries = model.n_heads / groups;  // of one group
    expect_rows(*rows, qkv_width(model, layer));
    return select_rows(std::move(rows), qkv_width(model, layer), [=](uint64_t row) {
        const uint64_t in_head = row % dim;
        uint64_t head = row / dim, group = head / queries, slot = head % queries;
        if (head >= queries * groups) {  // keys, then values
            head -= queries * groups;
            group = head % groups;
            slot = queries + head / groups;
        }
        return (group * (queries + 2) + slot) * dim + in_head;
    });
}

RowsPtr first_half(RowsPtr rows, const ModelConfig&, uint64_t) {
    return half(std::move(rows), 0);
}
RowsPtr second_half(RowsPtr rows, const ModelConfig&, uint64_t) {
    return half(std::move(rows), 1);
}
RowsPtr even_rows(RowsPtr rows, const ModelConfig&, uint64_t) {
    return every_other_row(std::move(rows), 0);
}
RowsPtr odd_rows(RowsPtr rows, const ModelConfig&, uint64_t) {
    return every_other_row(std::move(rows), 1);
}
RowsPtr even_columns(RowsPtr rows, const ModelConfig&, uint64_t) {
    return every_other_column(std::move(rows), 0);
}
RowsPtr odd_columns(RowsPtr rows, const ModelConfig&, uint64_t) {
    return every_other_column(std::move(rows), 1);
}
RowsPtr transposed(RowsPtr rows, const ModelConfig&, uint64_t) {
    return transpose(std::move(rows));
}
RowsPtr plus_one(RowsPtr rows, const ModelConfig&, uint64_t) {
    return map_values(std::move(rows), [](std::span<float> values) {
        for (float& value : values) value += 1;
    });
}
RowsPtr as_vector(RowsPtr rows, const ModelConfig&, uint64_t) {
    const uint64_t n = rows->n_elements();
    return reshape(std::move(rows), {n});
}

}  // namespace terms
}  // namespace ingot::converters

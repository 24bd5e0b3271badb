#pragma once
// Synthetic checkpoints of one or two layers, mapped to GGUF: what the tests of families share.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "converters/architectures/mapping.h"
#include "converters/architectures/model_config.h"
#include "format/error.h"
#include "tests/catch.h"
#include "tests/converters/checkpoint_files.h"

namespace ingot::test {

using namespace ingot::converters;

using Shapes = std::vector<std::pair<std::string, std::vector<uint64_t>>>;

/// hidden 16, feed-forward 24, 4 heads of 4 over 2 KV heads, vocabulary 10, unless `members` says otherwise.
inline std::string config_text(const std::string& class_name, const std::string& members) {
    std::string text = members;
    const auto add = [&](const std::string& key, const std::string& value) {
        if (text.find("\"" + key + "\"") == std::string::npos) text += fmt::format("\"{}\":{},", key, value);
    };
    add("hidden_size", "16");
    add("intermediate_size", "24");
    add("num_hidden_layers", "1");
    add("num_attention_heads", "4");
    add("num_key_value_heads", "2");
    add("vocab_size", "10");
    add("max_position_embeddings", "64");
    return fmt::format("{{{}\"architectures\":[\"{}\"]}}", text, class_name);
}

/// A checkpoint in a folder of its own, mapped. Shapes are PyTorch's: the row length last.
class Mapped {
  public:
    Mapped(const std::string& class_name, const std::string& members, const Shapes& tensors) {
        const Json json = Json::parse(config_text(class_name, members), "config.json");
        std::vector<Tensor> list;
        for (const auto& [name, shape] : tensors) list.push_back(random_tensor(name, shape));
        write_file(folder_ / "model.safetensors", safetensors_file(list));
        checkpoint_ = open_checkpoint(folder_.path().string());
        model_ = read_model_config(json);
        write_hyperparameters(model_, json, metadata_);
        mapping_ = map_tensors(model_, WeightSet(*checkpoint_));
    }

    /// The file's tensors are these, in GGUF's order of dimensions: the row length first.
    void expect(const Shapes& expected) const {
        REQUIRE(mapping_.tensors.size() == expected.size());
        for (size_t i = 0; i < expected.size(); ++i) {
            INFO(expected[i].first);
            CHECK(mapping_.tensors[i].name == expected[i].first);
            CHECK(mapping_.tensors[i].rows->shape() == expected[i].second);
        }
    }
    const TensorRows& operator[](const std::string& name) const {
        const auto found = std::ranges::find(mapping_.tensors, name, &MappedTensor::name);
        REQUIRE(found != mapping_.tensors.end());
        return *found->rows;
    }
    template <typename T>
    T key(const std::string& name) const {
        INFO(name);
        const MetadataValue* value = metadata_.find(name);
        REQUIRE(value);
        return std::get<T>(*value);
    }
    bool has_key(const std::string& name) const { return metadata_.find(name) != nullptr; }
    const Mapping& mapping() const { return mapping_; }
    const ModelConfig& model() const { return model_; }

  private:
    TemporaryFolder folder_;
    std::unique_ptr<Checkpoint> checkpoint_;
    ModelConfig model_;
    Metadata metadata_;
    Mapping mapping_;
};

/// Row `row`, column `column` of `rows` is this element of the checkpoint.
inline void check_place(const TensorRows& rows, uint64_t row, uint64_t column, uint64_t source_row,
                        uint64_t source_column) {
    const auto place = rows.place(row, column);
    INFO(rows.name() << " row " << row << " column " << column);
    CHECK(place.row == source_row);
    CHECK(place.column == source_column);
}

inline Shapes operator+(Shapes a, const Shapes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
}

/// Llama's tensors of one layer.
inline Shapes llama(const std::string& prefix = "model.") {
    const std::string layer = prefix + "layers.0.";
    return {{prefix + "embed_tokens.weight", {10, 16}},
            {layer + "input_layernorm.weight", {16}},
            {layer + "self_attn.q_proj.weight", {16, 16}},
            {layer + "self_attn.k_proj.weight", {8, 16}},
            {layer + "self_attn.v_proj.weight", {8, 16}},
            {layer + "self_attn.o_proj.weight", {16, 16}},
            {layer + "post_attention_layernorm.weight", {16}},
            {layer + "mlp.gate_proj.weight", {24, 16}},
            {layer + "mlp.up_proj.weight", {24, 16}},
            {layer + "mlp.down_proj.weight", {16, 24}},
            {prefix + "norm.weight", {16}}};
}

inline std::string error_of(const std::string& class_name, const std::string& members,
                            const Shapes& tensors) {
    try {
        Mapped(class_name, members, tensors);
    } catch (const Error& error) {
        return error.what();
    }
    return "accepted";
}

}  // namespace ingot::test

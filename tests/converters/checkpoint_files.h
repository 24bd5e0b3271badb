#pragma once
// Checkpoints made by hand, in a folder of their own.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "format/half.h"
#include "tests/files.h"

namespace ingot::test {

namespace fs = std::filesystem;

/// A safetensors file from its header's text and its data.
inline std::string safetensors_file(const std::string& header, const std::string& data) {
    const uint64_t length = header.size();
    std::string bytes(8, '\0');
    for (int i = 0; i < 8; ++i) bytes[size_t(i)] = char(length >> (8 * i));
    return bytes + header + data;
}

/// One tensor in PyTorch's order of dimensions: the row length comes last.
struct Tensor {
    std::string name;
    std::string dtype;
    std::vector<uint64_t> shape;
    std::string data;
};

inline std::string safetensors_file(const std::vector<Tensor>& tensors) {
    std::string header = "{\"__metadata__\":{\"format\":\"pt\"}", data;
    for (const Tensor& tensor : tensors) {
        header += fmt::format(",\"{}\":{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                              tensor.name, tensor.dtype, fmt::join(tensor.shape, ","), data.size(),
                              data.size() + tensor.data.size());
        data += tensor.data;
    }
    return safetensors_file(header + "}", data);
}

inline uint64_t n_elements(const std::vector<uint64_t>& shape) {
    uint64_t n = 1;
    for (const uint64_t dimension : shape) n *= dimension;
    return n;
}

inline std::string bf16_bytes(const std::vector<float>& values) {
    std::string bytes;
    for (const float value : values) {
        const uint16_t bits = float_to_bf16(value);
        bytes += char(bits & 0xff);
        bytes += char(bits >> 8);
    }
    return bytes;
}

inline std::string f32_bytes(const std::vector<float>& values) {
    std::string bytes(values.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
}

/// Reproducible weights of the usual size, exact in BF16.
inline Tensor random_tensor(const std::string& name, const std::vector<uint64_t>& shape) {
    std::mt19937 random(uint32_t(std::hash<std::string>()(name)));
    std::vector<float> values(n_elements(shape));
    for (float& value : values) value = (float(random() % 2001) - 1000) / 16384;
    return {name, "BF16", shape, bf16_bytes(values)};
}

/// A checkpoint of two layers: hidden 64, feed-forward 96, 4 heads of 16 over 2 KV heads, vocabulary 2048.
struct TinyModel {
    std::string class_name = "LlamaForCausalLM";
    std::string more_config;  // members of config.json, each followed by a comma
    bool tied = false;
    bool qkv_biases = false;
    static constexpr uint64_t kHidden = 64, kFeedForward = 96, kHeads = 4, kKvHeads = 2, kHeadDim = 16;
    static constexpr uint64_t kVocabulary = 2048, kLayers = 2;

    std::string config() const {
        return fmt::format(
            "{{{}\"architectures\":[\"{}\"],\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_"
            "layers\":2,"
            "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":2048,"
            "\"max_position_embeddings\":512,\"rms_norm_eps\":1e-05,\"tie_word_embeddings\":{}}}",
            more_config, class_name, tied);
    }

    std::vector<Tensor> tensors() const {
        std::vector<Tensor> result;
        const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
            result.push_back(random_tensor(name, shape));
        };
        add("model.embed_tokens.weight", {kVocabulary, kHidden});
        for (uint64_t layer = 0; layer < kLayers; ++layer) {
            const std::string prefix = fmt::format("model.layers.{}.", layer);
            add(prefix + "input_layernorm.weight", {kHidden});
            add(prefix + "self_attn.q_proj.weight", {kHeads * kHeadDim, kHidden});
            add(prefix + "self_attn.k_proj.weight", {kKvHeads * kHeadDim, kHidden});
            add(prefix + "self_attn.v_proj.weight", {kKvHeads * kHeadDim, kHidden});
            add(prefix + "self_attn.o_proj.weight", {kHidden, kHeads * kHeadDim});
            if (qkv_biases) {
                add(prefix + "self_attn.q_proj.bias", {kHeads * kHeadDim});
                add(prefix + "self_attn.k_proj.bias", {kKvHeads * kHeadDim});
                add(prefix + "self_attn.v_proj.bias", {kKvHeads * kHeadDim});
            }
            add(prefix + "post_attention_layernorm.weight", {kHidden});
            add(prefix + "mlp.gate_proj.weight", {kFeedForward, kHidden});
            add(prefix + "mlp.up_proj.weight", {kFeedForward, kHidden});
            add(prefix + "mlp.down_proj.weight", {kHidden, kFeedForward});
        }
        add("model.norm.weight", {kHidden});
        if (!tied) add("lm_head.weight", {kVocabulary, kHidden});
        return result;
    }

    /// config.json, model.safetensors and the demo model's tokenizer.
    void write(const TemporaryFolder& folder) const { write(folder, tensors()); }
    void write(const TemporaryFolder& folder, const std::vector<Tensor>& tensors) const {
        write_file(folder / "config.json", config());
        write_file(folder / "model.safetensors", safetensors_file(tensors));
        const fs::path demo = fs::path(INGOT_SOURCE_DIR) / "tests/data/tolstoy-5m";
        for (const char* name : {"tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"}) {
            fs::copy_file(demo / name, folder.path() / name);
        }
    }
};

}  // namespace ingot::test

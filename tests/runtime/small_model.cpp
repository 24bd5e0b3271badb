#include "tests/runtime/small_model.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "format/error.h"
#include "format/output_file.h"

using namespace ingot;

namespace family_tests {
namespace {

enum Feature : unsigned {
    kNormBias = 1 << 0,   // layer norms with biases
    kFused = 1 << 1,      // attn_qkv
    kBiases = 1 << 2,     // of every matrix
    kNoGate = 1 << 3,     // feed-forward without a gate
    kPostNorms = 1 << 4,  // beside the others
    kQkNorm = 1 << 5,     // of each head
    kNoFfnNorm = 1 << 6,
    kExperts = 1 << 7,
};
constexpr uint64_t kHeads = 4, kKvHeads = 2, kHeadDim = 16, kExpertCount = 4, kExpertInner = 32;

std::string block(uint32_t layer, const std::string& part) {
    return fmt::format("blk.{}.{}", layer, part);
}

void add_linear(SmallModel& model, const std::string& name, uint64_t n_in, uint64_t n_out, bool biased) {
    model.add(name + ".weight", {n_in, n_out});
    if (biased) model.add(name + ".bias", {n_out});
}

void add_norm(SmallModel& model, const std::string& name, unsigned features, uint64_t n = kWidth) {
    model.add(name + ".weight", {n});
    if (features & kNormBias) model.add(name + ".bias", {n});
}

void add_attention(SmallModel& model, uint32_t layer, unsigned features) {
    const bool biased = features & kBiases;
    const uint64_t q = kHeads * kHeadDim, kv = kKvHeads * kHeadDim;
    if (features & kFused) {
        add_linear(model, block(layer, "attn_qkv"), kWidth, q + 2 * kv, biased);
    } else {
        add_linear(model, block(layer, "attn_q"), kWidth, q, biased);
        add_linear(model, block(layer, "attn_k"), kWidth, kv, biased);
        add_linear(model, block(layer, "attn_v"), kWidth, kv, biased);
    }
    add_linear(model, block(layer, "attn_output"), q, kWidth, biased);
    if (features & kQkNorm) {
        add_norm(model, block(layer, "attn_q_norm"), 0, kHeadDim);
        add_norm(model, block(layer, "attn_k_norm"), 0, kHeadDim);
    }
}

void add_feed_forward(SmallModel& model, uint32_t layer, unsigned features) {
    const bool biased = features & kBiases;
    if (features & kExperts) {
        add_linear(model, block(layer, "ffn_gate_inp"), kWidth, kExpertCount, biased);
        for (const char* part : {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"}) {
            const bool down = part == std::string("ffn_down_exps");
            const uint64_t n_in = down ? kExpertInner : kWidth, n_out = down ? kWidth : kExpertInner;
            model.add(block(layer, part) + ".weight", {n_in, n_out, kExpertCount});
            if (biased) model.add(block(layer, part) + ".bias", {n_out, kExpertCount});
        }
        return;
    }
    if (!(features & kNoGate)) add_linear(model, block(layer, "ffn_gate"), kWidth, kInner, biased);
    add_linear(model, block(layer, "ffn_up"), kWidth, kInner, biased);
    add_linear(model, block(layer, "ffn_down"), kInner, kWidth, biased);
}

// The keys and tensors that most families share.
SmallModel usual(const std::string& family, unsigned features) {
    SmallModel model{.family = family, .keys = {}, .tensors = {}};
    model.set("block_count", kLayers);
    model.set("context_length", kContext);
    model.set("embedding_length", kWidth);
    model.set("feed_forward_length", kInner);
    model.set("attention.head_count", uint32_t(kHeads));
    model.set("attention.head_count_kv", uint32_t(kKvHeads));
    model.set("attention.layer_norm_rms_epsilon", 1e-5f);
    model.set("attention.layer_norm_epsilon", 1e-5f);
    if (features & kExperts) {
        model.set("expert_count", uint32_t(kExpertCount));
        model.set("expert_used_count", uint32_t(2));
        model.set("expert_feed_forward_length", uint32_t(kExpertInner));
    }
    model.add("token_embd.weight", {kWidth, kVocabulary});
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
        add_norm(model, block(layer, "attn_norm"), features);
        add_attention(model, layer, features);
        if (features & kPostNorms) add_norm(model, block(layer, "post_attention_norm"), features);
        if (!(features & kNoFfnNorm)) add_norm(model, block(layer, "ffn_norm"), features);
        add_feed_forward(model, layer, features);
        if (features & kPostNorms) add_norm(model, block(layer, "post_ffw_norm"), features);
    }
    add_norm(model, "output_norm", features);
    model.add("output.weight", {kWidth, kVocabulary});
    return model;
}

void remove(SmallModel& model, const std::string& part) {
    std::erase_if(model.tensors,
                  [&](const auto& tensor) { return tensor.name.find(part) != std::string::npos; });
}

void rename(SmallModel& model, const std::string& from, const std::string& to) {
    for (auto& tensor : model.tensors) {
        if (const size_t at = tensor.name.find(from); at != std::string::npos)
            tensor.name.replace(at, from.size(), to);
    }
}

SmallModel gpt_oss() {
    SmallModel model = usual("gpt-oss", kBiases | kExperts);
    rename(model, "ffn_norm", "post_attention_norm");
    model.set("attention.sliding_window", uint32_t(8));
    for (uint32_t layer = 0; layer < kLayers; ++layer) model.add(block(layer, "attn_sinks.weight"), {kHeads});
    return model;
}

SmallModel deepseek2() {
    constexpr uint64_t kRank = 24, kPlain = 16, kRotated = 8, kValue = 12;
    SmallModel model = usual("deepseek2", kExperts);
    for (const char* part : {"attn_q.", "attn_k.", "attn_v.", "attn_output."}) remove(model, part);
    model.set("attention.head_count_kv", uint32_t(1));
    model.set("attention.kv_lora_rank", uint32_t(kRank));
    model.set("attention.key_length_mla", uint32_t(kPlain + kRotated));
    model.set("attention.value_length_mla", uint32_t(kValue));
    model.set("rope.dimension_count", uint32_t(kRotated));
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
        model.add(block(layer, "attn_q.weight"), {kWidth, kHeads * (kPlain + kRotated)});
        model.add(block(layer, "attn_kv_a_mqa.weight"), {kWidth, kRank + kRotated});
        model.add(block(layer, "attn_kv_a_norm.weight"), {kRank});
        model.add(block(layer, "attn_k_b.weight"), {kPlain, kRank, kHeads});
        model.add(block(layer, "attn_v_b.weight"), {kRank, kValue, kHeads});
        model.add(block(layer, "attn_output.weight"), {kHeads * kValue, kWidth});
    }
    return model;
}

SmallModel qwen3next() {
    constexpr uint64_t kKeyHeads = 2, kValueHeads = 4, kState = 8, kTaps = 4;
    constexpr uint64_t kMixed = 2 * kKeyHeads * kState + kValueHeads * kState;
    SmallModel model = usual("qwen3next", kQkNorm | kExperts);
    rename(model, "ffn_norm", "post_attention_norm");
    model.set("full_attention_interval", uint32_t(2));
    model.set("ssm.conv_kernel", uint32_t(kTaps));
    model.set("ssm.group_count", uint32_t(kKeyHeads));
    model.set("ssm.time_step_rank", uint32_t(kValueHeads));
    model.set("ssm.state_size", uint32_t(kState));
    model.set("ssm.inner_size", uint32_t(kValueHeads * kState));
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
        if (layer % 2 == 1) {  // attention: queries and gates
            for (auto& tensor : model.tensors) {
                if (tensor.name == block(layer, "attn_q.weight")) tensor.shape[1] *= 2;
            }
            continue;
        }
        for (const char* part :
             {"attn_q.", "attn_k.", "attn_v.", "attn_output.", "attn_q_norm", "attn_k_norm"}) {
            remove(model, block(layer, part));
        }
        model.add(block(layer, "attn_qkv.weight"), {kWidth, kMixed});
        model.add(block(layer, "attn_gate.weight"), {kWidth, kValueHeads * kState});
        model.add(block(layer, "ssm_ba.weight"), {kWidth, 2 * kValueHeads});
        model.add(block(layer, "ssm_conv1d.weight"), {kTaps, kMixed});
        model.add(block(layer, "ssm_a"), {kValueHeads});
        model.add(block(layer, "ssm_dt.bias"), {kValueHeads});
        model.add(block(layer, "ssm_norm.weight"), {kState});
        model.add(block(layer, "ssm_out.weight"), {kValueHeads * kState, kWidth});
    }
    return model;
}

SmallModel gemma4() {
    constexpr uint64_t kOwn = 8;
    SmallModel model = usual("gemma4", kPostNorms | kQkNorm);
    model.set("attention.sliding_window", uint32_t(8));
    model.set("attention.sliding_window_pattern", uint32_t(2));
    model.set("attention.shared_kv_layers", uint32_t(2));
    model.set("embedding_length_per_layer_input", uint32_t(kOwn));
    for (uint32_t layer = 2; layer < kLayers; ++layer) {
        for (const char* part : {"attn_k.", "attn_v.", "attn_k_norm"}) remove(model, block(layer, part));
    }
    model.add("per_layer_token_embd.weight", {kOwn * kLayers, kVocabulary});
    model.add("per_layer_model_proj.weight", {kWidth, kOwn * kLayers});
    model.add("per_layer_proj_norm.weight", {kOwn});
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
        model.add(block(layer, "inp_gate.weight"), {kWidth, kOwn});
        model.add(block(layer, "proj.weight"), {kOwn, kWidth});
        model.add(block(layer, "post_norm.weight"), {kWidth});
        model.add(block(layer, "layer_output_scale.weight"), {1});
    }
    return model;
}

}  // namespace

void SmallModel::set(const std::string& key, MetadataValue value) {
    const auto found = std::ranges::find(keys, key, &std::pair<std::string, MetadataValue>::first);
    if (found != keys.end()) {
        found->second = std::move(value);
    } else {
        keys.emplace_back(key, std::move(value));
    }
}

std::vector<SmallModel> small_models() {
    std::vector<SmallModel> models;
    models.push_back(usual("llama", 0));
    models.push_back(usual("qwen3", kQkNorm));
    models.push_back(usual("gemma2", kPostNorms));
    models.back().set("attention.sliding_window", uint32_t(8));
    models.push_back(usual("gemma3", kPostNorms | kQkNorm));
    models.back().set("attention.sliding_window", uint32_t(8));
    models.back().set("attention.sliding_window_pattern", uint32_t(2));
    models.push_back(usual("gpt2", kNormBias | kFused | kBiases | kNoGate));
    models.back().add("position_embd.weight", {kWidth, kContext});
    models.push_back(usual("bloom", kNormBias | kFused | kBiases | kNoGate));
    add_norm(models.back(), "token_embd_norm", kNormBias);
    models.push_back(usual("falcon", kNormBias | kFused | kNoGate | kNoFfnNorm));
    models.push_back(usual("command-r", kNoFfnNorm));
    models.push_back(usual("cohere2", kNoFfnNorm));
    models.back().set("attention.sliding_window", uint32_t(8));
    models.push_back(usual("granite", 0));
    models.back().set("residual_scale", 0.5f);
    models.back().set("embedding_scale", 3.0f);
    models.back().set("logit_scale", 2.0f);
    models.back().set("attention.scale", 0.1f);
    models.push_back(usual("qwen3moe", kQkNorm | kExperts));
    models.push_back(usual("llama4", 0));
    models.back().set("attention.sliding_window", uint32_t(8));
    models.back().set("attention.temperature_length", uint32_t(4));
    models.push_back(gpt_oss());
    models.push_back(deepseek2());
    models.push_back(qwen3next());
    models.push_back(gemma4());
    return models;
}

SmallModel small_model(const std::string& family) {
    for (SmallModel& model : small_models()) {
        if (model.family == family) return model;
    }
    fail("no small model of family {}", family);
}

SmallFile::SmallFile(const SmallModel& model) {
    static int n_files = 0;
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("ingot-family-{}-{}.gguf", ::getpid(), n_files++);
    Metadata metadata;
    metadata.set("general.architecture", model.family);
    for (const auto& [key, value] : model.keys) metadata.set(model.family + "." + key, value);
    std::vector<TensorPlan> plans;
    for (const auto& tensor : model.tensors) plans.push_back({tensor.name, TensorType::F32, tensor.shape});
    const GgufLayout layout(std::move(metadata), std::move(plans));
    const std::vector<std::byte> header = layout.encode_header();
    OutputFile file(path_, layout.file_size_bytes(), true);
    file.write_at(0, header);

    std::mt19937 generator(48);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i < model.tensors.size(); ++i) {
        const auto& [name, shape] = model.tensors[i];
        size_t n = 1;
        for (const uint64_t length : shape) n *= length;
        // Norms near 1, matrices that keep sizes, forgetting that is negative.
        const bool is_vector = shape.size() == 1;
        const bool is_norm = is_vector && name.find("norm") != std::string::npos && !name.ends_with(".bias");
        const float scale = is_vector ? 0.2f : 1 / std::sqrt(float(shape[0]));
        std::vector<float> values(n);
        for (float& value : values) value = normal(generator) * scale + (is_norm ? 1.0f : 0.0f);
        if (name.ends_with("ssm_a") || name.ends_with("output_scale.weight")) {
            for (float& value : values) value = name.ends_with("ssm_a") ? -1 - value : 1 + value;
        }
        file.write_at(layout.tensors()[i].offset, std::as_bytes(std::span(values)));
    }
    file.commit();
}

SmallFile::~SmallFile() {
    std::filesystem::remove(path_);
}

}  // namespace family_tests

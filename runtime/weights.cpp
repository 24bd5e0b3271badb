#include "runtime/weights.h"

#include <cmath>

#include "format/decode.h"
#include "format/error.h"

namespace ingot::runtime {
namespace {

/// Finds tensors by name, checks their shapes and hands them to the backend.
class Loader {
  public:
    Loader(const GgufFile& file, Backend& backend) : file_(file), backend_(backend) {}

    std::unique_ptr<Weight> matrix(const std::string& name, int64_t n_out, int64_t n_in) {
        const TensorInfo& tensor = require(name);
        if (tensor.shape != std::array<uint64_t, 4>{uint64_t(n_in), uint64_t(n_out), 1, 1}) {
            fail("tensor {}: shape is {}; expected [{}, {}]", name, shape_of(tensor), n_in, n_out);
        }
        try {
            return backend_.load_weight(tensor.type, n_in, n_out, file_.tensor_bytes(tensor));
        } catch (const Error& error) {
            fail("tensor {}: {}", name, error.what());
        }
    }
    std::unique_ptr<Weight> optional_matrix(const std::string& name, int64_t n_out, int64_t n_in) {
        return file_.header().find_tensor(name) ? matrix(name, n_out, n_in) : nullptr;
    }

    /// A vector is small: it is decoded to floats whatever its type.
    std::vector<float> floats(const std::string& name, int64_t n) {
        const TensorInfo& tensor = require(name);
        if (tensor.shape != std::array<uint64_t, 4>{uint64_t(n), 1, 1, 1}) {
            fail("tensor {}: shape is {}; expected [{}]", name, shape_of(tensor), n);
        }
        if (!info(tensor.type).decodable) {
            fail("tensor {}: type {} cannot be decoded by this version", name, ingot::name(tensor.type));
        }
        std::vector<float> values(static_cast<size_t>(n));
        decode_row(tensor.type, file_.tensor_bytes(tensor).data(), values.data(), uint64_t(n));
        return values;
    }
    std::unique_ptr<Buffer> vector(const std::string& name, int64_t n) { return upload(floats(name, n)); }
    std::unique_ptr<Buffer> optional_vector(const std::string& name, int64_t n) {
        return file_.header().find_tensor(name) ? vector(name, n) : nullptr;
    }
    std::unique_ptr<Buffer> upload(std::span<const float> values) {
        auto buffer = backend_.allocate(values.size_bytes());
        backend_.upload(std::as_bytes(values), *buffer);
        return buffer;
    }

  private:
    const TensorInfo& require(const std::string& name) {
        const TensorInfo* tensor = file_.header().find_tensor(name);
        if (tensor == nullptr) fail("tensor {} is missing; the file cannot be run", name);
        return *tensor;
    }
    static std::string shape_of(const TensorInfo& tensor) {
        std::string text = "[";
        for (uint32_t i = 0; i < tensor.n_dims; ++i) {
            text += fmt::format("{}{}", i == 0 ? "" : ", ", tensor.shape[i]);
        }
        return text + "]";
    }

    const GgufFile& file_;
    Backend& backend_;
};

LayerWeights load_layer(Loader& loader, const Hyperparameters& model, int64_t index) {
    const auto name = [&](const char* part) { return fmt::format("blk.{}.{}", index, part); };
    const bool biased = model.family->attention_bias;
    const auto bias = [&](const char* part, int64_t n) {
        return biased ? loader.vector(name(part), n) : loader.optional_vector(name(part), n);
    };
    LayerWeights layer;
    layer.attention_norm = loader.vector(name("attn_norm.weight"), model.n_embd);
    layer.q = loader.matrix(name("attn_q.weight"), model.q_width(), model.n_embd);
    layer.k = loader.matrix(name("attn_k.weight"), model.kv_width(), model.n_embd);
    layer.v = loader.matrix(name("attn_v.weight"), model.kv_width(), model.n_embd);
    layer.q_bias = bias("attn_q.bias", model.q_width());
    layer.k_bias = bias("attn_k.bias", model.kv_width());
    layer.v_bias = bias("attn_v.bias", model.kv_width());
    layer.attention_output = loader.matrix(name("attn_output.weight"), model.n_embd, model.q_width());
    layer.attention_output_bias = loader.optional_vector(name("attn_output.bias"), model.n_embd);
    layer.ffn_norm = loader.vector(name("ffn_norm.weight"), model.n_embd);
    layer.gate = loader.matrix(name("ffn_gate.weight"), model.n_ff, model.n_embd);
    layer.up = loader.matrix(name("ffn_up.weight"), model.n_ff, model.n_embd);
    layer.down = loader.matrix(name("ffn_down.weight"), model.n_embd, model.n_ff);
    layer.gate_bias = loader.optional_vector(name("ffn_gate.bias"), model.n_ff);
    layer.up_bias = loader.optional_vector(name("ffn_up.bias"), model.n_ff);
    layer.down_bias = loader.optional_vector(name("ffn_down.bias"), model.n_embd);
    return layer;
}

}  // namespace

Weights Weights::load(const GgufFile& file, const Hyperparameters& model, Backend& backend) {
    Loader loader(file, backend);
    Weights weights;
    weights.token_embedding = loader.matrix("token_embd.weight", model.n_vocab, model.n_embd);
    for (int64_t i = 0; i < model.n_layers; ++i) weights.layers.push_back(load_layer(loader, model, i));
    weights.output_norm = loader.vector("output_norm.weight", model.n_embd);
    weights.output = loader.optional_matrix("output.weight", model.n_vocab, model.n_embd);

    std::vector<float> factors;
    const char* factors_name = "rope_freqs.weight";
    if (file.header().find_tensor(factors_name)) {
        factors = loader.floats(factors_name, model.n_rot / 2);
        for (const float factor : factors) {
            if (!(factor > 0 && std::isfinite(factor))) {
                fail("tensor {}: holds {}; expected finite numbers above 0", factors_name, factor);
            }
        }
    }
    const RopeTable rope = rope_table(model, factors);
    weights.rope_frequencies = loader.upload(rope.frequencies);
    weights.rope_magnitude = rope.magnitude;
    return weights;
}

}  // namespace ingot::runtime

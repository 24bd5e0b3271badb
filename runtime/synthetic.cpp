#include "runtime/synthetic.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "format/blocks/iq4_nl.h"
#include "format/blocks/iq4_xs.h"
#include "format/blocks/q2_k.h"
#include "format/blocks/q3_k.h"
#include "format/blocks/q4_0.h"
#include "format/blocks/q4_1.h"
#include "format/blocks/q4_k.h"
#include "format/blocks/q5_0.h"
#include "format/blocks/q5_1.h"
#include "format/blocks/q5_k.h"
#include "format/blocks/q6_k.h"
#include "format/blocks/q8_0.h"
#include "format/decode.h"
#include "format/error.h"
#include "format/half.h"
#include "format/output_file.h"

namespace ingot::runtime {
namespace {

constexpr SyntheticShape kShapes[] = {
    // name        layers  embd     ff  heads  kv   vocab  context  tied
    {"llama-tiny", 2, 256, 512, 4, 2, 1024, 512, false},
    {"llama-1.1b", 22, 2048, 5632, 32, 4, 32000, 2048, false},
    {"llama3-3b", 28, 3072, 8192, 24, 8, 128256, 8192, true},
    {"llama3-8b", 32, 4096, 14336, 32, 8, 128256, 8192, false},
};

/// Where a block keeps its factors. Any other bytes are good as they come; a random half would be NaN or
/// enormous now and then.
struct Factors {
    TensorType type;
    size_t scale_at;   // bytes into the block: a half
    int64_t min_at;    // likewise; -1: none
    float min_factor;  // of the scale, so that the values have mean 0
};
constexpr Factors kFactors[] = {
    {TensorType::Q4_0, offsetof(BlockQ4_0, d), -1, 0},
    {TensorType::Q4_1, offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, min), -7.5f},
    {TensorType::Q5_0, offsetof(BlockQ5_0, d), -1, 0},
    {TensorType::Q5_1, offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, min), -15.5f},
    {TensorType::Q8_0, offsetof(BlockQ8_0, d), -1, 0},
    {TensorType::Q2_K, offsetof(BlockQ2_K, d), offsetof(BlockQ2_K, dmin), 1.5f},
    {TensorType::Q3_K, offsetof(BlockQ3_K, d), -1, 0},
    {TensorType::Q4_K, offsetof(BlockQ4_K, d), offsetof(BlockQ4_K, dmin), 7.5f},
    {TensorType::Q5_K, offsetof(BlockQ5_K, d), offsetof(BlockQ5_K, dmin), 15.5f},
    {TensorType::Q6_K, offsetof(BlockQ6_K, d), -1, 0},
    {TensorType::IQ4_NL, offsetof(BlockIQ4_NL, d), -1, 0},
    {TensorType::IQ4_XS, offsetof(BlockIQ4_XS, d), -1, 0},
};

const Factors* find_factors(TensorType type) {
    const auto* found = std::ranges::find(kFactors, type, &Factors::type);
    return found == std::end(kFactors) ? nullptr : found;
}

bool is_float(TensorType type) {
    return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

/// splitmix64 (Steele, Lea, Flood 2014): one multiplication deep, good enough for noise.
class Random {
  public:
    explicit Random(uint64_t seed) : state_(seed) {}
    uint64_t next() {
        uint64_t z = state_ += 0x9e3779b97f4a7c15;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }
    float uniform() { return float(int64_t(next()) >> 11) * 0x1p-52f; }  // -1 … 1

  private:
    uint64_t state_;
};

void fill_floats(TensorType type, float amplitude, Random& random, std::span<std::byte> bytes) {
    const size_t element_bytes = info(type).block_bytes;
    for (size_t at = 0; at < bytes.size(); at += element_bytes) {
        const float value = random.uniform() * amplitude;
        if (type == TensorType::F32) {
            std::memcpy(&bytes[at], &value, sizeof value);
        } else {
            const uint16_t bits = type == TensorType::F16 ? float_to_half(value) : float_to_bf16(value);
            std::memcpy(&bytes[at], &bits, sizeof bits);
        }
    }
}

void fill_blocks(const Factors& factors, float scale, Random& random, std::span<std::byte> bytes) {
    size_t at = 0;
    for (; at + sizeof(uint64_t) <= bytes.size(); at += sizeof(uint64_t)) {
        const uint64_t noise = random.next();
        std::memcpy(&bytes[at], &noise, sizeof noise);
    }
    const uint64_t noise = random.next();
    std::memcpy(bytes.data() + at, &noise, bytes.size() - at);

    const uint16_t scale_half = float_to_half(scale);
    const uint16_t min_half = float_to_half(scale * factors.min_factor);
    const size_t block_bytes = info(factors.type).block_bytes;
    for (size_t block = 0; block < bytes.size(); block += block_bytes) {
        std::memcpy(&bytes[block + factors.scale_at], &scale_half, sizeof scale_half);
        if (factors.min_at >= 0) {
            std::memcpy(&bytes[block + size_t(factors.min_at)], &min_half, sizeof min_half);
        }
    }
}

// The scale at which random blocks decode to values of this root mean square.
float scale_for(const Factors& factors, float root_mean_square) {
    constexpr uint64_t kElements = 4096;
    std::vector<std::byte> bytes(row_bytes(factors.type, kElements));
    std::vector<float> values(kElements);
    Random random(1);
    fill_blocks(factors, 1.0f, random, bytes);
    decode_row(factors.type, bytes.data(), values.data(), kElements);
    double squares = 0;
    for (const float value : values) squares += double(value) * double(value);
    return float(double(root_mean_square) / std::sqrt(squares / double(kElements)));
}

/// <unk>, <s>, </s>, the 256 bytes, then words of growing length over a … z: "a", "▁a", …, "aa", "▁aa", …
void add_vocabulary(uint32_t n_vocab, Metadata& metadata) {
    constexpr int32_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;
    const std::string space = "\u2581";
    std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
    std::vector<int32_t> types = {kUnknown, kControl, kControl};
    for (int byte = 0; byte < 256; ++byte) tokens.push_back(fmt::format("<0x{:02X}>", byte));
    types.resize(tokens.size(), kByte);
    tokens.push_back(space);
    for (size_t length = 1, n_words = 26; tokens.size() < n_vocab; ++length, n_words *= 26) {
        for (size_t word = 0; word < n_words; ++word) {
            std::string text(length, 'a');
            for (size_t rest = word, i = length; i-- > 0; rest /= 26) text[i] = char('a' + rest % 26);
            tokens.push_back(text);
            tokens.push_back(space + text);
            if (tokens.size() >= n_vocab) break;
        }
    }
    tokens.resize(n_vocab);
    types.resize(n_vocab, kNormal);
    std::vector<float> scores(n_vocab);
    for (size_t i = 259; i < n_vocab; ++i) scores[i] = -float(i - 259);

    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.pre", "default");
    metadata.set("tokenizer.ggml.tokens", MetadataArray{std::move(tokens)});
    metadata.set("tokenizer.ggml.scores", MetadataArray{std::move(scores)});
    metadata.set("tokenizer.ggml.token_type", MetadataArray{std::move(types)});
    metadata.set("tokenizer.ggml.bos_token_id", uint32_t(1));
    metadata.set("tokenizer.ggml.eos_token_id", uint32_t(2));
    metadata.set("tokenizer.ggml.unknown_token_id", uint32_t(0));
    metadata.set("tokenizer.ggml.add_bos_token", true);
    metadata.set("tokenizer.ggml.add_eos_token", false);
}

Metadata metadata_of(const SyntheticShape& shape, uint32_t file_type) {
    Metadata metadata;
    metadata.set("general.architecture", "llama");
    metadata.set("general.name", fmt::format("{} with random weights", shape.name));
    metadata.set("general.file_type", file_type);
    metadata.set("llama.context_length", shape.n_context);
    metadata.set("llama.embedding_length", shape.n_embd);
    metadata.set("llama.block_count", shape.n_layers);
    metadata.set("llama.feed_forward_length", shape.n_ff);
    metadata.set("llama.attention.head_count", shape.n_heads);
    metadata.set("llama.attention.head_count_kv", shape.n_kv_heads);
    metadata.set("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    metadata.set("llama.rope.dimension_count", shape.n_embd / shape.n_heads);
    metadata.set("llama.rope.freq_base", 10000.0f);
    metadata.set("llama.vocab_size", shape.n_vocab);
    add_vocabulary(shape.n_vocab, metadata);
    return metadata;
}

// One tensor, chunk by chunk. False when cancelled.
bool write_tensor(OutputFile& file, const TensorPlan& tensor, Random& random,
                  const std::atomic<bool>* cancel) {
    const size_t block_bytes = info(tensor.type).block_bytes;
    std::vector<std::byte> chunk((size_t(1) << 20) / block_bytes *
                                 block_bytes);        // about 1 MiB of whole blocks
    const bool is_vector = tensor.shape.size() == 1;  // a norm's weights: all 1
    const float root_mean_square = 1.0f / std::sqrt(float(tensor.shape[0]));
    const Factors* factors = find_factors(tensor.type);
    const float scale = factors ? scale_for(*factors, root_mean_square) : root_mean_square * std::sqrt(3.0f);
    for (uint64_t done = 0; done < tensor.size_bytes; done += chunk.size()) {
        if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
        const std::span<std::byte> bytes(chunk.data(),
                                         std::min<uint64_t>(chunk.size(), tensor.size_bytes - done));
        if (is_vector) {
            const float one = 1.0f;
            for (size_t at = 0; at < bytes.size(); at += sizeof one)
                std::memcpy(&bytes[at], &one, sizeof one);
        } else if (factors != nullptr) {
            fill_blocks(*factors, scale, random, bytes);
        } else {
            fill_floats(tensor.type, scale, random, bytes);
        }
        file.write_at(tensor.offset + done, bytes);
    }
    return true;
}

}  // namespace

std::span<const SyntheticShape> synthetic_shapes() {
    return kShapes;
}

const SyntheticShape* find_synthetic_shape(std::string_view name) {
    const auto* found = std::ranges::find(kShapes, name, &SyntheticShape::name);
    return found == std::end(kShapes) ? nullptr : found;
}

bool is_synthesizable(TensorType type) {
    return is_float(type) || find_factors(type) != nullptr;
}

std::vector<TensorPlan> synthetic_tensors(const SyntheticShape& shape) {
    std::vector<TensorPlan> tensors;
    const auto add = [&](std::string name, std::vector<uint64_t> dimensions) {
        TensorPlan plan;
        plan.name = std::move(name);
        plan.type = TensorType::F32;
        plan.shape = std::move(dimensions);
        tensors.push_back(std::move(plan));
    };
    const uint64_t n_embd = shape.n_embd;
    const uint64_t kv_width = n_embd / shape.n_heads * shape.n_kv_heads;
    add("token_embd.weight", {n_embd, shape.n_vocab});
    for (uint32_t layer = 0; layer < shape.n_layers; ++layer) {
        const std::string prefix = fmt::format("blk.{}.", layer);
        add(prefix + "attn_norm.weight", {n_embd});
        add(prefix + "attn_q.weight", {n_embd, n_embd});
        add(prefix + "attn_k.weight", {n_embd, kv_width});
        add(prefix + "attn_v.weight", {n_embd, kv_width});
        add(prefix + "attn_output.weight", {n_embd, n_embd});
        add(prefix + "ffn_norm.weight", {n_embd});
        add(prefix + "ffn_gate.weight", {n_embd, shape.n_ff});
        add(prefix + "ffn_up.weight", {n_embd, shape.n_ff});
        add(prefix + "ffn_down.weight", {shape.n_ff, n_embd});
    }
    add("output_norm.weight", {n_embd});
    if (!shape.tied_output) add("output.weight", {n_embd, shape.n_vocab});
    return tensors;
}

bool write_synthetic(const SyntheticShape& shape, std::vector<TensorPlan> tensors, uint32_t file_type,
                     const std::filesystem::path& path, bool overwrite, uint64_t seed,
                     const std::atomic<bool>* cancel) {
    for (const TensorPlan& tensor : tensors) {
        if (!is_synthesizable(tensor.type)) {
            fail("tensor {}: random weights of type {} cannot be made by this version", tensor.name,
                 name(tensor.type));
        }
    }
    const GgufLayout layout(metadata_of(shape, file_type), std::move(tensors));
    OutputFile file(path, layout.file_size_bytes(), overwrite);
    file.write_at(0, layout.encode_header());
    Random random(seed);
    for (const TensorPlan& tensor : layout.tensors()) {
        if (!write_tensor(file, tensor, random, cancel)) return false;
    }
    file.commit();
    return true;
}

}  // namespace ingot::runtime

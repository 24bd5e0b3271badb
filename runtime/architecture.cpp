#include "runtime/architecture.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "format/error.h"

namespace ingot::runtime {
namespace {

constexpr ModelFamily kFamilies[] = {
    // name     rope pairing               attention bias
    {"llama", RopePairing::Interleaved, false},  // also Mistral
    {"qwen2", RopePairing::Halves, true},
};

// Widths above these belong to no model, and below them no product of a few of them leaves 64 bits.
constexpr uint64_t kMaxWidth = 1 << 24;  // elements: embedding, feed-forward
constexpr uint64_t kMaxHeads = 1 << 16;
constexpr uint64_t kMaxContext = 1ull << 31;  // positions are int32_t

const ModelFamily& family_of(const GgufHeader& header) {
    const std::string_view wanted = header.require_string("general.architecture");
    std::string known;
    for (const ModelFamily& family : kFamilies) {
        if (family.name == wanted) return family;
        known += fmt::format("{}{}", known.empty() ? "" : ", ", family.name);
    }
    fail(
        "general.architecture is \"{}\"; this version runs {}. `inspect` and `quantize` still work on the "
        "file",
        wanted, known);
}

/// The family's keys, each checked for its range.
class Keys {
  public:
    Keys(const GgufHeader& header, std::string_view prefix) : header_(header), prefix_(prefix) {}

    std::string full(std::string_view key) const { return fmt::format("{}.{}", prefix_, key); }

    int64_t require_count(std::string_view key, uint64_t max) const {
        header_.require_uint(full(key));  // the error when it is absent
        return count(key, max, 0);
    }
    int64_t count(std::string_view key, uint64_t max, uint64_t otherwise) const {
        const std::string name = full(key);
        const auto found = header_.get_uint(name);
        if (!found) return int64_t(otherwise);
        if (*found < 1 || *found > max) fail("{} is {}; expected 1 to {}", name, *found, max);
        return int64_t(*found);
    }
    /// A number, or an array of the same number for each layer.
    int64_t uniform_count(std::string_view key, uint64_t max, uint64_t otherwise, int64_t n_layers) const {
        const std::string name = full(key);
        const Value* value = header_.find(name);
        if (value == nullptr || value->type() != ValueType::Array) return count(key, max, otherwise);
        const std::vector<int64_t> numbers = header_.ints(name);
        if (numbers.size() != uint64_t(n_layers)) {
            fail("{} has {} values; expected one for each of {} layers", name, numbers.size(), n_layers);
        }
        for (const int64_t number : numbers) {
            if (number < 1 || uint64_t(number) > max)
                fail("{} holds {}; expected 1 to {}", name, number, max);
            if (number != numbers[0]) {
                fail("{} differs between layers ({} and {}); this version runs models with one value for all",
                     name, numbers[0], number);
            }
        }
        return numbers[0];
    }
    float positive(std::string_view key, double otherwise) const {
        const std::string name = full(key);
        const double found = header_.get_float(name).value_or(otherwise);
        if (!(found > 0 && found <= std::numeric_limits<float>::max())) {
            fail("{} is {}; expected a finite number above 0", name, found);
        }
        return float(found);
    }

  private:
    const GgufHeader& header_;
    std::string_view prefix_;
};

void read_rope(const GgufHeader& header, const Keys& keys, Hyperparameters& model) {
    model.n_rot = keys.count("rope.dimension_count", uint64_t(model.head_dim), uint64_t(model.head_dim));
    if (model.n_rot % 2 != 0) {
        fail("{} is {}; expected an even number, elements are rotated in pairs",
             keys.full("rope.dimension_count"), model.n_rot);
    }
    model.rope_base = keys.positive("rope.freq_base", 10000);
    model.rope_original_context =
        keys.count("rope.scaling.original_context_length", kMaxContext, uint64_t(model.n_context));

    const std::string type_key = keys.full("rope.scaling.type");
    const std::string_view type = header.get_string(type_key).value_or("");
    if (type == "linear" || type == "yarn") {
        model.rope_scaling = type == "linear" ? RopeScaling::Linear : RopeScaling::Yarn;
        model.rope_factor = keys.positive("rope.scaling.factor", 1);
        model.rope_attention_factor = keys.positive("rope.scaling.attn_factor", 1);
        model.yarn_beta_fast = keys.positive("rope.scaling.yarn_beta_fast", 32);
        model.yarn_beta_slow = keys.positive("rope.scaling.yarn_beta_slow", 1);
    } else if (type.empty() && header.find(keys.full("rope.scale_linear")) != nullptr) {  // older files
        model.rope_scaling = RopeScaling::Linear;
        model.rope_factor = keys.positive("rope.scale_linear", 1);
    } else if (!type.empty() && type != "none") {
        fail("{} is \"{}\"; this version knows none, linear and yarn", type_key, type);
    }
}

}  // namespace

std::span<const ModelFamily> model_families() {
    return kFamilies;
}

Hyperparameters Hyperparameters::from_header(const GgufHeader& header) {
    Hyperparameters model;
    model.family = &family_of(header);
    const Keys keys(header, model.family->name);

    model.n_layers = keys.require_count("block_count", kMaxContext);
    if (uint64_t(model.n_layers) > header.tensors().size()) {
        fail("{} is {} but the file holds only {} tensors; every layer has several", keys.full("block_count"),
             model.n_layers, header.tensors().size());
    }
    model.n_embd = keys.require_count("embedding_length", kMaxWidth);
    model.n_ff = keys.uniform_count("feed_forward_length", kMaxWidth, 0, model.n_layers);
    if (model.n_ff == 0) header.require_uint(keys.full("feed_forward_length"));
    model.n_context = keys.require_count("context_length", kMaxContext);

    const std::string heads_key = keys.full("attention.head_count");
    model.n_heads = keys.uniform_count("attention.head_count", kMaxHeads, 0, model.n_layers);
    if (model.n_heads == 0) header.require_uint(heads_key);
    const std::string kv_heads_key = keys.full("attention.head_count_kv");
    model.n_kv_heads =
        keys.uniform_count("attention.head_count_kv", kMaxHeads, uint64_t(model.n_heads), model.n_layers);
    if (model.n_kv_heads > model.n_heads) {
        fail("{} is {}, more than {} ({})", kv_heads_key, model.n_kv_heads, heads_key, model.n_heads);
    }
    if (model.n_heads % model.n_kv_heads != 0) {
        fail("{} is {}, which does not divide {} ({}): query heads share key-value heads evenly",
             kv_heads_key, model.n_kv_heads, heads_key, model.n_heads);
    }

    const std::string key_length = keys.full("attention.key_length");
    model.head_dim = keys.count("attention.key_length", kMaxHeads, 0);
    if (model.head_dim == 0) {
        if (model.n_embd % model.n_heads != 0) {
            fail("{} is {}, no multiple of {} ({}), and {} is absent", keys.full("embedding_length"),
                 model.n_embd, heads_key, model.n_heads, key_length);
        }
        model.head_dim = model.n_embd / model.n_heads;
    }
    const int64_t value_length = keys.count("attention.value_length", kMaxHeads, uint64_t(model.head_dim));
    if (value_length != model.head_dim) {
        fail("{} is {} but keys have {} elements; family {} has them equal",
             keys.full("attention.value_length"), value_length, model.head_dim, model.family->name);
    }

    const std::string experts_key = keys.full("expert_count");
    const uint64_t n_experts = header.get_uint(experts_key).value_or(0);
    const uint64_t n_experts_used = header.get_uint(keys.full("expert_used_count")).value_or(0);
    if (n_experts_used > n_experts) {
        fail("{} is {}, more than {} ({})", keys.full("expert_used_count"), n_experts_used, experts_key,
             n_experts);
    }
    if (n_experts > 0) fail("{} is {}; this version runs no mixtures of experts yet", experts_key, n_experts);

    model.norm_epsilon = keys.positive("attention.layer_norm_rms_epsilon", 1e-5);
    if (header.get_uint(keys.full("attention.sliding_window")).value_or(0) != 0) {
        model.window = keys.count("attention.sliding_window", kMaxContext, 0);
    }
    read_rope(header, keys, model);

    // The vocabulary is the embedding's number of rows; the tokenizer has to agree with it.
    const TensorInfo* embedding = header.find_tensor("token_embd.weight");
    if (embedding == nullptr) fail("tensor token_embd.weight is missing; the file cannot be run");
    if (embedding->shape[1] < 1 || embedding->shape[1] > kMaxContext) {
        fail("tensor token_embd.weight has {} rows; expected one for each token", embedding->shape[1]);
    }
    model.n_vocab = int64_t(embedding->shape[1]);
    const Value* tokens = header.find("tokenizer.ggml.tokens");
    if (tokens != nullptr && tokens->count() != uint64_t(model.n_vocab)) {
        fail(
            "tokenizer.ggml.tokens has {} tokens but token_embd.weight has {} rows; both must be the "
            "vocabulary",
            tokens->count(), model.n_vocab);
    }
    return model;
}

RopeTable rope_table(const Hyperparameters& model, std::span<const float> factors) {
    const int64_t n_pairs = model.n_rot / 2;
    RopeTable table;
    table.frequencies.resize(size_t(n_pairs));
    table.magnitude = model.rope_attention_factor;

    // YaRN (Peng et al. 2023, section 3.2): pairs that turn often within the original context keep their
    // frequency, pairs that turn less than once are interpolated, those between are mixed along a ramp.
    const double base = model.rope_base;
    const auto pair_of_rotations = [&](double rotations) {
        return double(model.n_rot) *
               std::log(double(model.rope_original_context) / (rotations * 2 * std::numbers::pi)) /
               (2 * std::log(base));
    };
    const double ramp_begin = std::max(0.0, std::floor(pair_of_rotations(model.yarn_beta_fast)));
    const double ramp_end =
        std::min(double(model.n_rot - 1), std::ceil(pair_of_rotations(model.yarn_beta_slow)));
    if (model.rope_scaling == RopeScaling::Yarn)
        table.magnitude *= float(1 + 0.1 * std::log(model.rope_factor));

    for (int64_t pair = 0; pair < n_pairs; ++pair) {
        double frequency = std::pow(base, -2.0 * double(pair) / double(model.n_rot));
        if (!factors.empty()) frequency /= double(factors[size_t(pair)]);
        double interpolated = 0;  // share of the stretched frequency
        if (model.rope_scaling == RopeScaling::Linear) interpolated = 1;
        if (model.rope_scaling == RopeScaling::Yarn) {
            const double width = std::max(0.001, ramp_end - ramp_begin);
            interpolated = std::clamp((double(pair) - ramp_begin) / width, 0.0, 1.0);
        }
        frequency *= interpolated / double(model.rope_factor) + (1 - interpolated);
        table.frequencies[size_t(pair)] = float(frequency);
    }
    return table;
}

}  // namespace ingot::runtime

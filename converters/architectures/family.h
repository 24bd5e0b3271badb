#pragma once
// A model family is data: which tensors a checkpoint has, what they are called in GGUF, which numbers of
// config.json go under which key. One table file per family; family.cpp lists them.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace ingot::converters {

/// How the rows of a tensor are ordered in the file. Rotary embedding pairs up the elements of a head:
/// Hugging Face pairs i with i + head_dim/2, GGUF's "llama" pairs 2i with 2i+1, so rows of Q and K move
/// within their head.
enum class RowOrder : uint8_t { Unchanged, InterleavedQueryHeads, InterleavedKvHeads };

/// When a tensor must be there. Otherwise it may: a tensor that is present is always carried over.
enum class Presence : uint8_t { Required, RequiredIfUntied, RequiredIfAttentionBias, RequiredIfMlpBias };

/// A dimension in the model's terms; numbers come from config.json.
enum class Dimension : uint8_t { None, Vocabulary, Hidden, FeedForward, QueryWidth, KvWidth };

/// "{bid}" stands for the number of the layer. `row_elements` and `n_rows` are what the model multiplies:
/// W (n_rows, row_elements); n_rows is None for vectors.
struct TensorRule {
    std::string_view source;  // model.layers.{bid}.self_attn.q_proj.weight
    std::string_view target;  // blk.{bid}.attn_q.weight
    Dimension row_elements{};
    Dimension n_rows{};
    RowOrder order = RowOrder::Unchanged;
    Presence presence = Presence::Required;
};

enum class NumberKind : uint8_t { Uint32, Float32 };

/// A number of config.json that goes into the metadata as it is.
struct NumberRule {
    std::string_view config_key;
    std::string_view suffix;  // of the GGUF key, after "<architecture>."
    NumberKind kind{};
    std::optional<double> fallback;  // where the config has none; without one, the number is required
};

struct Family {
    std::string_view name;                      // for messages
    std::span<const std::string_view> classes;  // config.json: architectures
    std::string_view architecture;              // general.architecture
    std::span<const TensorRule> tensors;  // in the order of the file; layers go where the first "{bid}" is
    std::span<const NumberRule> numbers;
    bool sliding_window = false;  // config.json's sliding_window is in force
};

/// Known to be of no use for running the model: rotary frequencies are computed, masks too.
std::span<const std::string_view> unneeded_suffixes();

std::span<const Family* const> families();
/// Null when no family has this class.
const Family* find_family(std::string_view class_name);
/// "LlamaForCausalLM, MistralForCausalLM, …": for messages.
std::string supported_classes();

/// "blk.{bid}.x", 3 -> "blk.3.x"
std::string with_layer(std::string_view pattern, uint64_t layer);
inline bool per_layer(std::string_view pattern) {
    return pattern.find("{bid}") != std::string_view::npos;
}

}  // namespace ingot::converters

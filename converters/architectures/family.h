#pragma once
// A model family is data: which tensors a checkpoint has, what they are called in GGUF and what is done to
// them on the way, which numbers of config.json go under which key. One table file per family; family.cpp
// lists them.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "converters/rows/weight_set.h"
#include "converters/sources/json.h"

namespace ingot::converters {

struct ModelConfig;
class Hyperparameters;

// The words of a row. Each is a function of the model and the layer, so that layers may differ; those that
// several families share are in terms.h, a family's own are beside its table.
using Size = uint64_t (*)(const ModelConfig&, uint64_t layer);          // elements of a dimension
using Condition = bool (*)(const ModelConfig&, uint64_t layer);         // when a tensor must be there
using Step = RowsPtr (*)(RowsPtr, const ModelConfig&, uint64_t layer);  // what is done to it
using Shape = std::array<Size, 3>;                                      // row length first; null: no more

bool always(const ModelConfig&, uint64_t layer);

/// One tensor of the file. "{bid}" stands for the number of the layer, "{xid}" for that of a part (an expert,
/// a head): `n_parts` tensors, stacked. The steps are applied in their order; what comes out has `shape`, in
/// GGUF's order: a matrix W (n_out, n_in) is {n_in, n_out}. Rules with the same target that follow each other
/// are alternatives: the first whose source is there holds. A tensor that is there is carried over even when
/// its condition doesn't ask for it.
struct TensorRule {
    std::string_view source;  // model.layers.{bid}.self_attn.q_proj.weight
    std::string_view target;  // blk.{bid}.attn_q.weight
    Shape shape{};
    std::array<Step, 3> steps{};
    Condition required = always;
    Size n_parts = nullptr;
};

enum class NumberKind : uint8_t { Uint32, Float32, Bool };

/// A number of config.json that goes into the metadata as it is.
struct NumberRule {
    std::string_view config_key;  // "n_positions|n_ctx": the first one that is there
    std::string_view suffix;      // of the GGUF key, after "<architecture>."
    NumberKind kind{};
    std::optional<double> fallback{};  // where the config has none
    bool optional = false;             // without one and without a fallback: nothing is written
};

/// How positions enter: by rotating pairs of elements of each head, or not like that (learned positions,
/// ALiBi).
enum class Positions : uint8_t { Rotary, Other };

struct Family {
    std::string_view name;                          // for messages and --as
    std::span<const std::string_view> classes;      // config.json: architectures
    std::span<const std::string_view> model_types;  // config.json: model_type, when the class doesn't decide
    std::string_view architecture;                  // general.architecture
    std::span<const TensorRule> tensors;  // in the order of the file; layers go where the first "{bid}" is
    std::span<const NumberRule> numbers;
    std::span<const std::string_view>
        activations;                     // that the family has; the first when config.json is silent
    std::string_view prefix = "model.";  // of the names of all tensors but the output's
    Positions positions = Positions::Rotary;
    double rotary_part = 1;            // of a head, when config.json is silent
    uint64_t feed_forward_factor = 0;  // × hidden, when config.json is silent; 0: it must speak
    bool tied_by_default = false;      // when config.json is silent
    /// The family's own reading of config.json, after the common one.
    void (*refine)(const Json& config, ModelConfig& model) = nullptr;
    /// Keys beyond `numbers`.
    void (*more_keys)(const ModelConfig& model, const Json& config, Hyperparameters& keys) = nullptr;
    /// Beginnings of names, after `prefix`, of tensors that the family's files do without.
    std::span<const std::string_view> left_out = {};
};

/// Known to be of no use for running a text model: rotary frequencies and masks are computed, images and
/// sounds are not read, heads that predict further tokens are not run.
bool is_unneeded(const Family& family, std::string_view tensor);
/// "part of the vision tower": why a tensor is left out; empty for those that nobody needs.
std::string_view reason_left_out(std::string_view tensor);

std::span<const Family* const> families();
/// Null when no family has this class.
const Family* find_family(std::string_view class_name);
/// By the name of the family, a class, a model_type or a GGUF architecture, whatever the case; null when none
/// has it.
const Family* find_family_by_name(std::string_view name);
/// The family of a whole config.json: its class, or for a model with several towers what its text_config
/// says.
const Family* find_family(const Json& config);
/// Families whose every required tensor of layer 0 and outside the layers is among these weights, and whose
/// layers leave none of layer 0 over. The most specific first.
std::vector<const Family*> find_matching_families(const WeightSet& weights);
/// "LlamaForCausalLM, MistralForCausalLM, …": for messages.
std::string supported_classes();

/// "blk.{bid}.x", 3 -> "blk.3.x"
std::string with_layer(std::string_view pattern, uint64_t layer);
std::string with_part(std::string_view pattern, uint64_t part);
inline bool per_layer(std::string_view pattern) {
    return pattern.find("{bid}") != std::string_view::npos;
}

/// How this checkpoint's names differ from the family's: models inside other models have longer names, bare
/// ones shorter.
class NameForm {
  public:
    NameForm(const Family& family, const WeightSet& weights);
    /// The name that the checkpoint has for a rule's source.
    std::string actual(std::string_view source) const;
    /// The tensor's name without what stands before the family's own; empty when it is not of the text model.
    std::string_view own(std::string_view actual) const;

  private:
    std::string_view prefix_;    // the family's: "model."
    std::string actual_prefix_;  // "language_model.model."
    std::string outside_;        // before names without the prefix, like lm_head: "language_model."
};

}  // namespace ingot::converters

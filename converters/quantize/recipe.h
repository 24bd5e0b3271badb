#pragma once
// Which type each tensor gets: the mixes that users know by name.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/tensor_type.h"

namespace ingot::converters {

/// A target as users write it: a plain type ("Q4_0", "BF16") or a mix of types ("Q4_K_M").
struct Recipe {
    std::string_view name;     // "Q4_K_M"
    TensorType base{};         // what most matrices get
    uint32_t file_type{};      // value of general.file_type (llama_ftype)
    std::string_view summary;  // one line for --help: bits per weight, when to use it
};

/// The recipe that keeps bits: tensors whose rows hold MXFP4 (see TensorRows::holds) get that type too, which
/// the caller knows.
inline constexpr std::string_view kKeptMxfp4 = "MXFP4";

std::span<const Recipe> recipes();
/// Any case; "Q4_K" and "Q5_K" mean their _M, "Q3_K" its _M, as users expect. Nothing when unknown.
const Recipe* find_recipe(std::string_view name);

/// What a recipe needs to know of the model.
struct ModelShape {
    std::string architecture;  // general.architecture
    uint32_t n_layers = 0;
    uint32_t n_experts = 0;
    uint32_t n_heads = 0;
    uint32_t n_kv_heads = 0;
    bool tied_output = false;     // no output.weight: token_embd.weight is the output matrix too
    bool has_importance = false;  // an importance matrix guides the quantization; a few mixes depend on it
};

struct TensorShape {
    std::string_view name;  // GGUF name
    uint32_t n_dims = 0;
    uint64_t row_elements = 0;
    uint64_t n_rows = 0;
};

/// The type of one tensor and, where it differs from what the recipe wanted, the reason (for the user).
struct TypeChoice {
    TensorType type{};
    std::string fallback_reason;  // "rows of 320 are no multiple of 256: Q5_0 instead of Q4_K"; else empty
    bool by_rule = false;         // not the mix but the user named it: see type_rules.h
};

/// The types of all tensors of a model, in the order given. One-dimensional tensors (norms, biases) stay F32.
/// The mixes follow llama.cpp's of the same name, so that files have the sizes that users expect.
std::vector<TypeChoice> choose_types(const Recipe& recipe, const ModelShape& model,
                                     const std::vector<TensorShape>& tensors);
/// The same without the mix's exceptions: its base type for every matrix that it quantizes.
std::vector<TypeChoice> choose_pure_types(const Recipe& recipe, const std::vector<TensorShape>& tensors);
/// Whether mixes quantize it at all: a matrix, and none that is too small or too sensitive.
bool is_quantizable(const TensorShape& tensor);

}  // namespace ingot::converters

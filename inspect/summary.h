#pragma once
// What a file is, from its header alone: no byte of a weight is touched.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf_model.h"

namespace ingot::inspect {

/// All tensors of one type.
struct TypeShare {
    TensorType type{};
    uint64_t n_tensors = 0;
    uint64_t n_elements = 0;
    uint64_t size_bytes = 0;
};

/// A number that most models have once and some once per layer.
struct PerLayer {
    uint64_t low = 0;
    uint64_t high = 0;
};

/// Missing or mistyped metadata leaves a field empty: the inspector must show odd files, not refuse them.
/// Texts are views into the header's bytes.
struct Summary {
    // The file, or all shards; version, alignment and header are the first one's.
    uint64_t file_size_bytes = 0;
    uint32_t version = 0;
    uint32_t alignment = 0;     // bytes
    uint64_t header_bytes = 0;  // where tensor data starts
    uint64_t n_metadata = 0;
    uint64_t n_tensors = 0;
    uint64_t tensor_bytes = 0;         // without padding
    uint64_t n_parameters = 0;         // elements of all tensors
    std::vector<TypeShare> types;      // most bytes first
    std::optional<uint64_t> n_shards;  // that the model was split into
    std::optional<uint64_t> shard;     // the only one that is looked at, counted from 0

    // The model.
    std::string_view architecture, name;
    std::optional<uint64_t> file_type;
    std::string_view file_type_name;  // "Q4_K_M"; empty when unknown
    std::optional<uint64_t> context_length, n_layers, n_embd, n_experts, n_experts_used;
    std::optional<PerLayer> n_ff, n_heads, n_kv_heads, head_dim;

    // The tokenizer.
    std::string_view tokenizer_model, tokenizer_pre;
    std::optional<uint64_t> vocabulary_size;  // tokens
    std::optional<uint64_t> n_merges;
    bool has_chat_template = false;

    // What Ingot noted when it wrote the file.
    std::string_view ingot_version, recipe, source_format;
    std::string_view recipe_changes;  // JSON: what the user wanted otherwise than the recipe
    std::vector<std::string_view> source_files;
    bool has_checksums = false;

    /// Bits of tensor data per parameter; 0 when there are no parameters.
    double bits_per_weight() const;
};

/// Cost: linear in the header.
Summary summarize(const GgufHeader& header, uint64_t file_size_bytes);
Summary summarize(const GgufModel& model);

/// What tensors come to by type, most bytes first.
std::vector<TypeShare> shares_by_type(std::span<const TensorInfo* const> tensors);

/// The name that users know for a value of general.file_type: 15 -> "Q4_K_M"; empty when unknown.
std::string_view file_type_name(uint64_t file_type);

}  // namespace ingot::inspect

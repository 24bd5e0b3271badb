#include "inspect/summary.h"

#include <algorithm>
#include <array>

#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::inspect {

namespace {

/// Reads keys of any header; a key of an unexpected type counts as absent.
class Lenient {
  public:
    explicit Lenient(const GgufHeader& header) : header_(header) {}

    std::string_view text(std::string_view key) const {
        const Value* value = header_.find(key);
        return value && value->type() == ValueType::String ? value->as_string() : std::string_view();
    }

    std::optional<uint64_t> number(std::string_view key) const {
        const Value* value = header_.find(key);
        return value ? as_number(*value) : std::nullopt;
    }

    std::optional<PerLayer> per_layer(std::string_view key) const {
        const Value* value = header_.find(key);
        if (!value) return std::nullopt;
        if (value->type() != ValueType::Array) {
            const auto same = as_number(*value);
            return same ? std::optional(PerLayer{*same, *same}) : std::nullopt;
        }
        std::optional<PerLayer> range;
        for (const Value element : value->elements()) {
            const auto number = as_number(element);
            if (!number) return std::nullopt;
            if (!range) range = PerLayer{*number, *number};
            range->low = std::min(range->low, *number);
            range->high = std::max(range->high, *number);
        }
        return range;
    }

    std::optional<uint64_t> array_length(std::string_view key) const {
        const Value* value = header_.find(key);
        if (!value || value->type() != ValueType::Array) return std::nullopt;
        return value->count();
    }

    std::vector<std::string_view> texts(std::string_view key) const {
        std::vector<std::string_view> found;
        const Value* value = header_.find(key);
        if (!value || value->type() != ValueType::Array || value->element_type() != ValueType::String)
            return found;
        for (const Value element : value->elements()) found.push_back(element.as_string());
        return found;
    }

  private:
    static std::optional<uint64_t> as_number(const Value& value) {
        switch (value.type()) {
            case ValueType::Uint8:
            case ValueType::Uint16:
            case ValueType::Uint32:
            case ValueType::Uint64:
                return value.as_uint();
            case ValueType::Int8:
            case ValueType::Int16:
            case ValueType::Int32:
            case ValueType::Int64: {
                const int64_t number = value.as_int();
                return number < 0 ? std::nullopt : std::optional(uint64_t(number));
            }
            default:
                return std::nullopt;
        }
    }

    const GgufHeader& header_;
};

}  // namespace

std::vector<TypeShare> shares_by_type(std::span<const TensorInfo* const> tensors) {
    std::vector<TypeShare> shares;
    for (const TensorInfo* tensor : tensors) {
        auto share = std::find_if(shares.begin(), shares.end(),
                                  [&](const TypeShare& candidate) { return candidate.type == tensor->type; });
        if (share == shares.end()) share = shares.insert(shares.end(), {tensor->type, 0, 0, 0});
        share->n_tensors += 1;
        share->n_elements += tensor->n_elements;
        share->size_bytes += tensor->size_bytes;
    }
    std::stable_sort(shares.begin(), shares.end(),
                     [](const TypeShare& a, const TypeShare& b) { return a.size_bytes > b.size_bytes; });
    return shares;
}

double Summary::bits_per_weight() const {
    return n_parameters == 0 ? 0.0 : 8.0 * double(tensor_bytes) / double(n_parameters);
}

Summary summarize(const GgufHeader& header, uint64_t file_size_bytes) {
    const Lenient keys(header);
    Summary summary;
    summary.file_size_bytes = file_size_bytes;
    summary.version = header.version();
    summary.alignment = header.alignment();
    summary.header_bytes = header.data_offset();
    summary.n_metadata = header.metadata().size();
    summary.n_tensors = header.tensors().size();
    std::vector<const TensorInfo*> tensors;
    for (const TensorInfo& tensor : header.tensors()) tensors.push_back(&tensor);
    summary.types = shares_by_type(tensors);
    for (const TypeShare& share : summary.types) {
        summary.tensor_bytes += share.size_bytes;
        summary.n_parameters += share.n_elements;
    }
    summary.n_shards = keys.number("split.count");
    if (summary.n_shards && *summary.n_shards > 1) summary.shard = keys.number("split.no");

    summary.architecture = keys.text("general.architecture");
    summary.name = keys.text("general.name");
    summary.file_type = keys.number("general.file_type");
    if (summary.file_type) summary.file_type_name = file_type_name(*summary.file_type);
    const std::string prefix(summary.architecture);
    summary.context_length = keys.number(prefix + ".context_length");
    summary.n_layers = keys.number(prefix + ".block_count");
    summary.n_embd = keys.number(prefix + ".embedding_length");
    summary.n_ff = keys.per_layer(prefix + ".feed_forward_length");
    summary.n_heads = keys.per_layer(prefix + ".attention.head_count");
    summary.n_kv_heads = keys.per_layer(prefix + ".attention.head_count_kv");
    if (!summary.n_kv_heads) summary.n_kv_heads = summary.n_heads;  // absent means: no grouped queries
    summary.head_dim = keys.per_layer(prefix + ".attention.key_length");
    if (!summary.head_dim && summary.n_embd && summary.n_heads && summary.n_heads->low > 0 &&
        summary.n_heads->low == summary.n_heads->high) {
        const uint64_t head_dim = *summary.n_embd / summary.n_heads->low;
        summary.head_dim = PerLayer{head_dim, head_dim};
    }
    summary.n_experts = keys.number(prefix + ".expert_count");
    summary.n_experts_used = keys.number(prefix + ".expert_used_count");

    summary.tokenizer_model = keys.text("tokenizer.ggml.model");
    summary.tokenizer_pre = keys.text("tokenizer.ggml.pre");
    summary.vocabulary_size = keys.array_length("tokenizer.ggml.tokens");
    summary.n_merges = keys.array_length("tokenizer.ggml.merges");
    summary.has_chat_template = !keys.text("tokenizer.chat_template").empty();

    summary.ingot_version = keys.text(keys::kVersion);
    summary.recipe = keys.text(keys::kRecipe);
    summary.recipe_changes = keys.text(keys::kRecipeText);
    summary.source_format = keys.text(keys::kSourceFormat);
    summary.source_files = keys.texts(keys::kSourceFiles);
    summary.has_checksums = header.find(keys::kChecksums) != nullptr;
    return summary;
}

Summary summarize(const GgufModel& model) {
    Summary summary = summarize(model.header(), model.size_bytes());
    if (model.files().size() > 1) summary.shard.reset();
    return summary;
}

std::string_view file_type_name(uint64_t file_type) {
    // By number; gaps are numbers that were never used in files, or no longer are.
    static constexpr std::array<std::string_view, 42> kNames = {
        "F32",   "F16",     "Q4_0",   "Q4_1",   "Q4_1 with F16", "",        "",       "Q8_0",   "Q5_0",
        "Q5_1",  "Q2_K",    "Q3_K_S", "Q3_K_M", "Q3_K_L",        "Q4_K_S",  "Q4_K_M", "Q5_K_S", "Q5_K_M",
        "Q6_K",  "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS",        "IQ3_XXS", "IQ1_S",  "IQ4_NL", "IQ3_S",
        "IQ3_M", "IQ2_S",   "IQ2_M",  "IQ4_XS", "IQ1_M",         "BF16",    "",       "",       "",
        "TQ1_0", "TQ2_0",   "MXFP4",  "NVFP4",  "Q1_0",          "Q2_0"};
    return file_type < kNames.size() ? kNames[file_type] : std::string_view();
}

}  // namespace ingot::inspect

#include "converters/plan.h"

#include <algorithm>
#include <filesystem>

#include "converters/architectures/mapping.h"
#include "converters/architectures/model_config.h"
#include "converters/model_name.h"
#include "converters/vocabulary/vocabulary.h"
#include "format/checksum.h"
#include "format/error.h"
#include "format/ingot_keys.h"

namespace ingot::converters {

namespace fs = std::filesystem;

namespace {

constexpr uint32_t kQuantizationVersion = 2;  // of the block layouts, as every reader expects it

TensorShape shape_for_recipe(const std::string& name, const std::vector<uint64_t>& shape) {
    TensorShape result{name, uint32_t(shape.size()), shape.empty() ? 1 : shape[0], 1};
    for (size_t i = 1; i < shape.size(); ++i) result.n_rows *= shape[i];
    return result;
}

/// Ingot's own keys: where the file comes from, and room for the checksums.
void write_provenance(const Checkpoint& checkpoint, const Recipe& recipe, size_t n_tensors,
                      Metadata& metadata) {
    std::vector<std::string> names;
    std::vector<uint64_t> sizes;
    for (const MappedFile* file : checkpoint.files()) {
        names.push_back(file->path().filename().string());
        sizes.push_back(file->bytes().size());
    }
    metadata.set(std::string(keys::kVersion), INGOT_VERSION);
    metadata.set(std::string(keys::kRecipe), recipe.name);
    metadata.set(std::string(keys::kSourceFormat), checkpoint.format());
    metadata.set(std::string(keys::kSourceFiles), MetadataArray{std::move(names)});
    metadata.set(std::string(keys::kSourceSizes), MetadataArray{std::move(sizes)});
    metadata.set(std::string(keys::kChecksums),
                 MetadataArray{std::vector<std::string>(n_tensors, std::string(keys::kPendingChecksum))});
}

uint64_t total_elements(const GgufLayout& layout) {
    uint64_t total = 0;
    for (const TensorPlan& tensor : layout.tensors()) total += tensor.n_elements;
    return total;
}

uint64_t total_source_bytes(const std::vector<TensorSource>& tensors) {
    uint64_t total = 0;
    std::vector<Extent> extents;
    for (const TensorSource& tensor : tensors) {
        extents.clear();
        tensor.rows->append_extents(0, tensor.rows->n_rows(), extents);
        for (const Extent& extent : extents) total += extent.size_bytes;
    }
    return total;
}

/// generation_config.json's sampling defaults, under the keys that other programs read.
void write_sampling_defaults(const fs::path& folder, Metadata& metadata) {
    const fs::path path = folder / "generation_config.json";
    if (!fs::exists(path)) return;
    const Json config = Json::read_file(path.string());
    const auto set_float = [&](const char* config_key, const char* key) {
        if (const auto value = config.get_number(config_key)) metadata.set(key, float(*value));
    };
    if (const auto top_k = config.get_uint("top_k"); top_k && *top_k <= INT32_MAX) {
        metadata.set("general.sampling.top_k", int32_t(*top_k));
    }
    set_float("top_p", "general.sampling.top_p");
    set_float("min_p", "general.sampling.min_p");
    set_float("temperature", "general.sampling.temp");
    set_float("repetition_penalty", "general.sampling.penalty_repeat");
}

}  // namespace

double ConversionPlan::bits_per_weight() const {
    uint64_t bytes = 0;
    for (const TensorPlan& tensor : layout.tensors()) bytes += tensor.size_bytes;
    return n_elements == 0 ? 0 : 8.0 * double(bytes) / double(n_elements);
}

ConversionPlan plan_checkpoint(const std::string& folder, const Recipe& recipe) {
    if (!fs::is_directory(folder)) {
        fail("{}: {}; expected the folder of a checkpoint (config.json, *.safetensors, tokenizer files)",
             folder, fs::exists(folder) ? "not a folder" : "no such folder");
    }
    const fs::path config_path = fs::path(folder) / "config.json";
    if (!fs::exists(config_path))
        fail("{}: no config.json there; expected the folder of a checkpoint", folder);
    const MappedFile config_file(config_path);
    const Json config = Json::read_file(config_path.string());
    const ModelConfig model = read_model_config(config);

    auto checkpoint = open_safetensors(folder);
    Mapping mapping;
    try {
        mapping = map_tensors(model, WeightSet(*checkpoint));
    } catch (const Error& error) {
        fail("{}: {}", folder, error.what());
    }

    std::vector<TensorPlan> planned;
    std::vector<TensorSource> sources;
    if (model.rope.kind == RopeScaling::Kind::Llama3) {
        std::vector<float> factors = llama3_rope_factors(model);
        const uint64_t n = factors.size();
        planned.push_back({"rope_freqs.weight", TensorType::F32, {n}});
        sources.push_back({computed_rows("rope_freqs.weight", {n}, std::move(factors)), {}});
    }
    const size_t n_generated = planned.size();
    std::vector<TensorShape> shapes;
    uint64_t n_weights = 0;
    for (const MappedTensor& tensor : mapping.tensors) {
        planned.push_back({tensor.name, TensorType::F32, tensor.rows->shape()});
        sources.push_back({tensor.rows, {}});
        n_weights += tensor.rows->n_elements();
    }
    for (size_t i = n_generated; i < planned.size(); ++i) {
        shapes.push_back(shape_for_recipe(planned[i].name, planned[i].shape));
    }
    const ModelShape shape{std::string(model.family->architecture),
                           uint32_t(model.n_layers),
                           0,
                           uint32_t(model.n_heads),
                           uint32_t(model.n_kv_heads),
                           model.tied_output};
    const std::vector<TypeChoice> choices = choose_types(recipe, shape, shapes);
    for (size_t i = 0; i < choices.size(); ++i) {
        planned[n_generated + i].type = choices[i].type;
        sources[n_generated + i].fallback_reason = choices[i].fallback_reason;
    }

    std::vector<std::string> warnings = model.warnings;
    const ModelName name = model_name(folder, n_weights);
    Metadata metadata;
    metadata.set("general.architecture", model.family->architecture);
    metadata.set("general.type", "model");
    write_sampling_defaults(folder, metadata);
    metadata.set("general.name", MetadataValue(name.display));
    metadata.set("general.size_label", MetadataValue(name.size_label));
    write_hyperparameters(model, config, metadata);
    metadata.set("general.file_type", recipe.file_type);
    metadata.set("general.quantization_version", kQuantizationVersion);
    const Vocabulary vocabulary = read_vocabulary(folder, model.vocabulary);
    write_vocabulary(vocabulary, metadata);
    warnings.insert(warnings.end(), vocabulary.warnings.begin(), vocabulary.warnings.end());
    write_provenance(*checkpoint, recipe, planned.size(), metadata);
    metadata.set(std::string(keys::kSourceConfigChecksum), MetadataValue(xxh3_128_hex(config_file.bytes())));

    const uint64_t source_bytes = total_source_bytes(sources);
    ConversionPlan plan{folder,
                        std::move(checkpoint),
                        &recipe,
                        GgufLayout(std::move(metadata), std::move(planned)),
                        std::move(sources),
                        name.file_stem,
                        source_bytes,
                        0,
                        std::move(warnings),
                        std::move(mapping.left_out)};
    plan.n_elements = total_elements(plan.layout);
    return plan;
}

namespace {

/// A number that some architectures give per layer, as an array: its largest. 0 when it is absent.
uint32_t largest_number(const GgufHeader& header, const std::string& key) {
    const Value* value = header.find(key);
    if (!value) return 0;
    if (value->type() != ValueType::Array) return uint32_t(std::min<uint64_t>(value->as_uint(), UINT32_MAX));
    const std::vector<int64_t> numbers = header.ints(key);
    return numbers.empty() ? 0 : uint32_t(std::clamp<int64_t>(std::ranges::max(numbers), 0, UINT32_MAX));
}

ModelShape shape_of(const GgufHeader& header) {
    ModelShape shape;
    shape.architecture = header.get_string("general.architecture").value_or("");
    const std::string prefix = shape.architecture + ".";
    shape.n_layers = largest_number(header, prefix + "block_count");
    shape.n_experts = largest_number(header, prefix + "expert_count");
    shape.n_heads = largest_number(header, prefix + "attention.head_count");
    shape.n_kv_heads = largest_number(header, prefix + "attention.head_count_kv");
    if (shape.n_kv_heads == 0) shape.n_kv_heads = shape.n_heads;
    shape.tied_output = header.find_tensor("output.weight") == nullptr;
    return shape;
}

/// All metadata but what is about to change: the encoding, the checksums, where the file comes from.
Metadata copied_metadata(const GgufHeader& header) {
    Metadata metadata;
    for (const KeyValue& entry : header.metadata()) {
        const bool replaced = entry.key == keys::kChecksums || entry.key.starts_with("ingot.source.") ||
                              entry.key.starts_with("split.");
        if (!replaced) metadata.set(std::string(entry.key), Metadata::copy_of(entry.value));
    }
    return metadata;
}

bool is_float(TensorType type) {
    return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16 ||
           type == TensorType::F64;
}

}  // namespace

ConversionPlan plan_gguf(const std::string& path, const Recipe& recipe, bool allow_requantize) {
    auto checkpoint = open_gguf(path);
    const GgufHeader& header = checkpoint->header();

    std::vector<TensorShape> shapes;
    for (const SourceTensor& tensor : checkpoint->tensors()) {
        shapes.push_back(shape_for_recipe(tensor.name, tensor.shape));
    }
    const std::vector<TypeChoice> choices = choose_types(recipe, shape_of(header), shapes);

    std::vector<TensorPlan> planned;
    std::vector<TensorSource> sources;
    std::vector<std::string> warnings, again, unreadable;
    for (size_t i = 0; i < checkpoint->tensors().size(); ++i) {
        const SourceTensor& tensor = checkpoint->tensors()[i];
        TensorSource source{plain_rows(tensor), choices[i].fallback_reason};
        TensorType type = choices[i].type;
        if (!is_float(tensor.type) && !info(tensor.type).quantized) {
            type = tensor.type;  // integers are tables, not weights
            source.fallback_reason.clear();
        } else if (type != tensor.type && info(tensor.type).quantized) {
            again.push_back(fmt::format("{} ({})", tensor.name, name(tensor.type)));
            if (!info(tensor.type).decodable) unreadable.push_back(again.back());
        }
        planned.push_back({tensor.name, type, tensor.shape});
        sources.push_back(std::move(source));
    }
    if (!unreadable.empty()) {
        fail("{}: {} tensors have block layouts that cannot be decoded yet, {} the first", path,
             unreadable.size(), unreadable.front());
    }
    if (!again.empty()) {
        const std::string cost = fmt::format(
            "{} tensors are quantized already, {} the first; quantizing them again keeps the rounding errors "
            "of their "
            "type and adds those of the new one",
            again.size(), again.front());
        if (!allow_requantize) {
            fail(
                "{}: {}. Start from the original checkpoint or an F16, BF16 or F32 file for the best result, "
                "or "
                "accept the loss with --allow-requantize",
                path, cost);
        }
        warnings.push_back(cost);
    }

    Metadata metadata = copied_metadata(header);
    metadata.set("general.file_type", recipe.file_type);
    metadata.set("general.quantization_version", kQuantizationVersion);
    write_provenance(*checkpoint, recipe, planned.size(), metadata);

    const uint64_t source_bytes = total_source_bytes(sources);
    ConversionPlan plan{path,
                        std::move(checkpoint),
                        &recipe,
                        GgufLayout(std::move(metadata), std::move(planned)),
                        std::move(sources),
                        fs::path(path).stem().string(),
                        source_bytes,
                        0,
                        std::move(warnings),
                        {}};
    plan.n_elements = total_elements(plan.layout);
    return plan;
}

std::string default_output_name(const ConversionPlan& plan) {
    return fmt::format("{}-{}.gguf", plan.model_name, plan.recipe->name);
}

void check_output(const ConversionPlan& plan, const std::string& output, bool overwrite) {
    const fs::path path(output);
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    std::error_code error;
    if (fs::is_directory(path, error)) fail("{}: a folder; expected the name of the file to write", output);
    if (!fs::is_directory(folder, error)) fail("{}: the folder {} does not exist", output, folder.string());
    if (fs::exists(path, error)) {
        for (const MappedFile* file : plan.checkpoint->files()) {
            if (fs::equivalent(path, file->path(), error)) {
                fail("{}: the same file as the input {}; choose another name for the output", output,
                     file->path().string());
            }
        }
        if (!overwrite) fail("{}: exists already; use --force to replace it, or another name", output);
    }
    const auto space = fs::space(folder, error);
    if (!error && space.available < plan.layout.file_size_bytes()) {
        fail("{}: {} bytes are needed, but the disk of {} has {} left", output, plan.layout.file_size_bytes(),
             folder.string(), space.available);
    }
}

}  // namespace ingot::converters

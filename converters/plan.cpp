#include "converters/plan.h"

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "converters/planners.h"
#include "converters/quantize/importance.h"
#include "converters/quantize/recipe_file.h"
#include "converters/sources/llama2c.h"
#include "format/error.h"
#include "format/gguf_model.h"
#include "format/ingot_keys.h"
#include "format/output_file.h"

namespace ingot::converters {

namespace fs = std::filesystem;

namespace {

fs::path folder_of(const fs::path& output) {
    return output.has_parent_path() ? output.parent_path() : fs::path(".");
}

/// What one tensor takes of a file of alignment `alignment`: its data with padding, its entry in the list and
/// its checksum.
uint64_t share_of_file(const TensorPlan& tensor, uint64_t alignment) {
    constexpr uint64_t kChecksumBytes = 8 + 32;                                        // length, hex digits
    const uint64_t entry = 8 + tensor.name.size() + 4 + 8 * tensor.shape.size() + 12;  // see SPEC.md, 1
    const uint64_t data = row_bytes(tensor.type, tensor.shape.at(0));
    uint64_t n_rows = 1;
    for (size_t i = 1; i < tensor.shape.size(); ++i) n_rows *= tensor.shape[i];
    return data * n_rows + alignment + entry + kChecksumBytes;
}

void set_pending_checksums(size_t n_tensors, Metadata& metadata) {
    metadata.set(std::string(keys::kChecksums),
                 MetadataArray{std::vector<std::string>(n_tensors, std::string(keys::kPendingChecksum))});
}

/// Where to cut: the first tensor of each file.
std::vector<size_t> cuts(const std::vector<TensorPlan>& targets, uint64_t first_header_bytes,
                         uint64_t max_file_bytes, uint64_t alignment) {
    std::vector<size_t> firsts{0};
    if (max_file_bytes == 0) return firsts;
    constexpr uint64_t kShardHeaderBytes = 1024;
    uint64_t size_bytes = first_header_bytes;
    for (size_t i = 0; i < targets.size(); ++i) {
        const uint64_t share = share_of_file(targets[i], alignment);
        if (i > firsts.back() && size_bytes + share > max_file_bytes) {
            firsts.push_back(i);
            size_bytes = kShardHeaderBytes;
        }
        size_bytes += share;
    }
    return firsts;
}

}  // namespace

TensorShape shape_for_recipe(const TensorPlan& tensor) {
    TensorShape shape{tensor.name, uint32_t(tensor.shape.size()), tensor.shape.empty() ? 1 : tensor.shape[0],
                      1};
    for (size_t i = 1; i < tensor.shape.size(); ++i) shape.n_rows *= tensor.shape[i];
    return shape;
}

void write_provenance(const Checkpoint* checkpoint, const ConvertRequest& request, Metadata& metadata) {
    metadata.set(std::string(keys::kVersion), INGOT_VERSION);
    metadata.set(std::string(keys::kRecipe), request.recipe->name);
    if (!request.rules.empty()) {
        const RecipeText text{request.recipe, request.rules, request.recipe_note};
        metadata.set(std::string(keys::kRecipeText), recipe_json(text));
    }
    if (!checkpoint) return;
    std::vector<std::string> names;
    std::vector<uint64_t> sizes;
    for (const MappedFile* file : checkpoint->files()) {
        names.push_back(file->path().filename().string());
        sizes.push_back(file->bytes().size());
    }
    metadata.set(std::string(keys::kSourceFormat), checkpoint->format());
    metadata.set(std::string(keys::kSourceFiles), MetadataArray{std::move(names)});
    metadata.set(std::string(keys::kSourceSizes), MetadataArray{std::move(sizes)});
}

const TensorPlan& ConversionPlan::target(size_t tensor) const {
    const PlannedFile& file = files.at(tensors.at(tensor).file);
    return file.layout.tensors().at(tensor - file.first_tensor);
}

std::string ConversionPlan::mix_name() const {
    return request.mix_name.empty() ? std::string(recipe().name) : request.mix_name;
}

uint64_t ConversionPlan::output_bytes() const {
    uint64_t total = 0;
    for (const PlannedFile& file : files) total += file.layout.file_size_bytes();
    return total;
}

double ConversionPlan::bits_per_weight() const {
    uint64_t bytes = 0;
    for (const PlannedFile& file : files) {
        for (const TensorPlan& tensor : file.layout.tensors()) bytes += tensor.size_bytes;
    }
    return n_elements == 0 ? 0 : 8.0 * double(bytes) / double(n_elements);
}

std::vector<const MappedFile*> ConversionPlan::source_files() const {
    std::vector<const MappedFile*> sources;
    if (checkpoint) sources = checkpoint->files();
    for (const auto& adapter : adapters) {
        sources.insert(sources.end(), adapter->files().begin(), adapter->files().end());
    }
    return sources;
}

void ConversionPlan::lay_out(Metadata metadata, std::vector<TensorPlan> targets) {
    files.clear();
    n_elements = 0;
    if (targets.empty()) {
        metadata.erase(keys::kSpare);  // a vocabulary: nothing lies behind the header
    } else {
        metadata.set(std::string(keys::kSpare), std::string(keys::kSpareBytes, ' '));
    }
    set_pending_checksums(0, metadata);
    const uint64_t header_bytes =
        request.max_file_bytes ? GgufLayout(metadata, {}).file_size_bytes() + 256 : 0;
    std::optional<MetadataValue> alignment;  // holds for every file
    if (const MetadataValue* value = metadata.find("general.alignment")) alignment = *value;
    const uint32_t* alignment_bytes = alignment ? std::get_if<uint32_t>(&*alignment) : nullptr;
    const std::vector<size_t> firsts = cuts(targets, header_bytes, request.max_file_bytes,
                                            alignment_bytes ? *alignment_bytes : kDefaultAlignment);
    for (size_t number = 0; number < firsts.size(); ++number) {
        const size_t end = number + 1 < firsts.size() ? firsts[number + 1] : targets.size();
        Metadata own;
        if (number == 0) {
            own = std::move(metadata);
        } else if (alignment) {
            own.set("general.alignment", *alignment);
        }
        if (firsts.size() > 1) {  // the types are those that every reader of shards expects
            own.set("split.no", uint16_t(number));
            own.set("split.count", uint16_t(firsts.size()));
            own.set("split.tensors.count", int32_t(targets.size()));
        }
        set_pending_checksums(end - firsts[number], own);
        std::vector<TensorPlan> part(std::make_move_iterator(targets.begin() + long(firsts[number])),
                                     std::make_move_iterator(targets.begin() + long(end)));
        files.push_back({GgufLayout(std::move(own), std::move(part)), firsts[number]});
        for (size_t i = firsts[number]; i < end; ++i) tensors[i].file = uint32_t(number);
        for (const TensorPlan& tensor : files.back().layout.tensors()) n_elements += tensor.n_elements;
    }
    if (firsts.size() > kMaxShards) {
        findings.problem("--split-max-size",
                         fmt::format("{} files would be needed, at most {} are possible",
                                     grouped(firsts.size()), grouped(kMaxShards)),
                         "choose a larger size");
    }
    for (const PlannedFile& file : files) {
        if (request.max_file_bytes && file.layout.file_size_bytes() > request.max_file_bytes) {
            findings.warn(
                "--split-max-size",
                fmt::format("the file that begins with {} takes {} bytes, more than {}",
                            file.layout.tensors().empty() ? "nothing" : file.layout.tensors()[0].name,
                            grouped(file.layout.file_size_bytes()), grouped(request.max_file_bytes)),
                "a tensor is never cut");
        }
    }
}

void ConversionPlan::set_metadata(const std::string& key, MetadataValue value) {
    Metadata changed = metadata();
    changed.set(key, std::move(value));
    PlannedFile& first = files.at(0);
    first.layout = GgufLayout(std::move(changed), first.layout.tensors());
}

ConversionPlan plan_conversion(const ConvertRequest& request) {
    if (!request.recipe) fail("a conversion without a type");
    ConversionPlan plan;
    plan.request = request;
    read_importance(plan);
    if (fs::is_directory(request.source)) {
        plan_from_checkpoint(plan);
    } else if (request.source.ends_with(".gguf") || request.source.ends_with(".gguf.zst")) {
        plan_from_gguf(plan);
    } else if (fs::is_regular_file(request.source) &&
               is_llama2c(MappedFile(fs::path(request.source)).bytes())) {
        plan_from_checkpoint(plan);
    } else {
        fail("{}: {}; expected the folder of a checkpoint (config.json, *.safetensors, tokenizer files)",
             request.source, fs::exists(request.source) ? "not a folder" : "no such folder");
    }
    assign_importance(plan);
    return plan;
}

ConversionPlan plan_checkpoint(const std::string& folder, const Recipe& recipe) {
    ConvertRequest request;
    request.source = folder;
    request.recipe = &recipe;
    ConversionPlan plan = plan_conversion(request);
    plan.findings.throw_if_problems(folder);
    return plan;
}

ConversionPlan plan_gguf(const std::string& path, const Recipe& recipe, bool allow_requantize) {
    ConversionPlan plan;
    plan.request.source = path;
    plan.request.recipe = &recipe;
    plan.request.allow_requantize = allow_requantize;
    plan_from_gguf(plan);
    plan.findings.throw_if_problems(path);
    return plan;
}

std::string default_output_name(const ConversionPlan& plan) {
    const std::string name = plan.model_name.empty() ? "model" : plan.model_name;
    return fmt::format("{}-{}.gguf", name, plan.request.vocab_only ? "vocab" : plan.mix_name());
}

std::vector<std::string> output_paths(const ConversionPlan& plan, const std::string& output) {
    if (plan.files.size() <= 1) return {output};
    std::string_view prefix = output;
    if (prefix.ends_with(".gguf")) prefix.remove_suffix(5);
    std::vector<std::string> paths;
    for (size_t i = 0; i < plan.files.size(); ++i) paths.push_back(shard_name(prefix, i, plan.files.size()));
    return paths;
}

bool is_left_over(const ConversionPlan& plan, const std::vector<std::string>& paths, size_t number) {
    std::error_code error;
    if (number == 0 || fs::exists(paths[0], error)) return false;
    try {
        const GgufFile file(paths[number]);
        GgufLayout layout = plan.files[number].layout;
        const std::vector<std::string_view> checksums = file.header().strings(keys::kChecksums);
        layout.metadata().set(std::string(keys::kChecksums),
                              MetadataArray{std::vector<std::string>(checksums.begin(), checksums.end())});
        const std::vector<std::byte> header = layout.encode_header();
        return file.bytes().size() == layout.file_size_bytes() &&
               std::ranges::equal(header, file.bytes().first(std::min(header.size(), file.bytes().size())));
    } catch (const Error&) {
        return false;
    }
}

DiskSpace disk_space(const ConversionPlan& plan, const std::string& output) {
    DiskSpace disk;
    disk.needed_bytes = plan.output_bytes();
    std::error_code error;
    for (const std::string& path : output_paths(plan, output)) {
        const uint64_t present_bytes = fs::file_size(OutputFile::unfinished_path_of(path), error);
        if (!error) disk.needed_bytes -= std::min(disk.needed_bytes, present_bytes);
    }
    const fs::space_info space = fs::space(folder_of(output), error);
    if (!error) disk.available_bytes = space.available;
    return disk;
}

void check_output(const ConversionPlan& plan, const std::string& output, bool overwrite, Findings& findings) {
    const fs::path folder = folder_of(output);
    std::error_code error;
    if (!fs::is_directory(folder, error)) {
        findings.problem(output, fmt::format("the folder {} does not exist", folder.string()),
                         "create it, or choose another with -o");
        return;
    }
    const std::vector<std::string> paths = output_paths(plan, output);
    for (size_t i = 0; i < paths.size(); ++i) {
        const std::string& path = paths[i];
        if (fs::is_directory(path, error)) {
            findings.problem(path, "a folder; expected the name of the file to write");
            continue;
        }
        if (!fs::exists(path, error)) continue;
        const MappedFile* same = nullptr;
        for (const MappedFile* file : plan.source_files()) {
            if (fs::equivalent(path, file->path(), error)) same = file;
        }
        if (same) {
            findings.problem(path, fmt::format("the same file as the input {}", same->path().string()),
                             "choose another name for the output");
        } else if (!overwrite && !is_left_over(plan, paths, i)) {
            findings.problem(path, "exists already", "use --force to replace it, or another name");
        }
    }
    const DiskSpace disk = disk_space(plan, output);
    if (disk.available_bytes && *disk.available_bytes < disk.needed_bytes) {
        findings.problem(
            "disk space",
            fmt::format("{}: {} bytes are needed, but the disk of {} has {} left", output,
                        grouped(disk.needed_bytes), folder.string(), grouped(*disk.available_bytes)),
            "make room, or write to another disk with -o");
    }
}

void check_output(const ConversionPlan& plan, const std::string& output, bool overwrite) {
    Findings findings;
    check_output(plan, output, overwrite, findings);
    findings.throw_if_problems(output);
}

}  // namespace ingot::converters

// Which files make up a checkpoint: one, or the shards that an index names.
#include <algorithm>
#include <filesystem>
#include <list>
#include <set>
#include <unordered_map>

#include "converters/sources/checkpoint.h"
#include "converters/sources/json.h"
#include "converters/sources/pytorch.h"
#include "converters/sources/safetensors.h"
#include "format/error.h"

namespace ingot::converters {

namespace fs = std::filesystem;

namespace {

/// A format of weights, as the files of a folder are called in it.
struct Format {
    std::string_view name;
    const char* single_file;
    const char* index_file;
    std::vector<SourceTensor> (*parse)(std::span<const std::byte> file, const std::string& name);
    void (*check)(std::span<const std::byte> file, const std::string& name);  // of checksums, or null
};
constexpr Format kSafetensors{"safetensors", "model.safetensors", "model.safetensors.index.json",
                              parse_safetensors, nullptr};
constexpr Format kPyTorch{"pytorch", "pytorch_model.bin", "pytorch_model.bin.index.json", parse_pytorch,
                          check_pytorch_checksums};

class WeightFiles final : public Checkpoint {
  public:
    /// Files of a folder, which has one of the format's two names.
    WeightFiles(const Format& format, const fs::path& folder) : format_(format) {
        if (fs::exists(folder / format.single_file)) {
            open(folder / format.single_file);
        } else {
            open_index(folder);
        }
    }
    WeightFiles(const Format& format, MappedFile file) : format_(format) {
        add(mapped_.emplace_back(std::move(file)));
    }

    const std::vector<SourceTensor>& tensors() const override { return tensors_; }
    std::string_view format() const override { return format_.name; }
    const std::vector<const MappedFile*>& files() const override { return files_; }
    void check_contents() const override {
        for (const MappedFile& file : mapped_) {
            if (format_.check) format_.check(file.bytes(), file.path().string());
        }
    }

  private:
    void open(const fs::path& path) { add(mapped_.emplace_back(path)); }

    void add(const MappedFile& file) {
        const fs::path& path = file.path();
        files_.push_back(&file);
        for (SourceTensor& tensor : format_.parse(file.bytes(), path.string())) {
            tensor.file = &file;
            const auto [first, added] = holder_.emplace(tensor.name, path.string());
            if (!added) {
                fail("{}: tensor \"{}\" is also in {}", path.string(), printable(tensor.name), first->second);
            }
            tensors_.push_back(std::move(tensor));
        }
    }

    void open_index(const fs::path& folder) {
        const std::string index = (folder / format_.index_file).string();
        const Json root = Json::read_file(index);
        const Json* weight_map = root.get_object("weight_map");
        if (!weight_map || weight_map->members().empty()) {
            fail("{}: no \"weight_map\" that says which file holds each tensor", index);
        }
        std::set<std::string> shards;
        for (const auto& [tensor, shard] : weight_map->members()) {
            if (shard.kind() != Json::Kind::String)
                fail("{}: the file of tensor \"{}\" is no string", index, printable(tensor));
            const std::string& name = shard.as_string();
            if (name.empty() || name == "." || name == ".." ||
                name.find_first_of("/\\") != std::string::npos) {
                fail("{}: the file \"{}\" of tensor \"{}\" is no plain file name", index, printable(name),
                     printable(tensor));
            }
            shards.insert(name);
        }
        std::vector<std::string> missing;
        for (const std::string& shard : shards) {
            if (!fs::exists(folder / shard)) missing.push_back(shard);
        }
        if (!missing.empty()) {
            fail("{}: {} of the {} files that {} names are missing: {}; download them too", folder.string(),
                 missing.size(), shards.size(), format_.index_file, fmt::join(missing, ", "));
        }
        for (const std::string& shard : shards) open(folder / shard);
        for (const auto& [tensor, shard] : weight_map->members()) {
            const auto found = holder_.find(tensor);
            const std::string expected = (folder / shard.as_string()).string();
            if (found == holder_.end() || found->second != expected) {
                fail(
                    "{}: tensor \"{}\" is not in {}, where the index has it; the files belong to different "
                    "checkpoints, or a download is incomplete",
                    index, tensor, expected);
            }
        }
    }

    const Format& format_;
    std::list<MappedFile> mapped_;  // a list: tensors point at its elements
    std::vector<const MappedFile*> files_;
    std::vector<SourceTensor> tensors_;
    std::unordered_map<std::string, std::string> holder_;  // tensor -> path of its file
};

bool has_weights(const fs::path& folder, const Format& format) {
    return fs::exists(folder / format.single_file) || fs::exists(folder / format.index_file);
}

void require_folder(const std::string& folder) {
    if (fs::is_directory(folder)) return;
    fail("{}: {}; expected the folder of a checkpoint (config.json, *.safetensors, tokenizer files)", folder,
         fs::exists(folder) ? "not a folder" : "no such folder");
}

[[noreturn]] void fail_without_weights(const fs::path& folder) {
    std::vector<std::string> others;
    for (const auto& entry : fs::directory_iterator(folder)) {
        const std::string extension = entry.path().extension().string();
        for (const char* known : {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}) {
            if (extension == known) others.push_back(entry.path().filename().string());
        }
    }
    std::sort(others.begin(), others.end());
    const std::string expected =
        fmt::format("{}, {}, {} and {}", kSafetensors.single_file, kSafetensors.index_file,
                    kPyTorch.single_file, kPyTorch.index_file);
    if (!others.empty()) {
        fail("{}: none of {} is there, only {}; download the index, or rename a single file", folder.string(),
             expected, fmt::join(others, ", "));
    }
    fail("{}: no weights: none of {} is there", folder.string(), expected);
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const std::string& folder) {
    require_folder(folder);
    for (const Format* format : {&kSafetensors, &kPyTorch}) {
        if (has_weights(folder, *format)) return std::make_unique<WeightFiles>(*format, folder);
    }
    fail_without_weights(folder);
}

std::unique_ptr<Checkpoint> open_weights_file(const std::string& path) {
    MappedFile file{fs::path(path)};
    const Format& format = is_pytorch(file.bytes()) ? kPyTorch : kSafetensors;
    return std::make_unique<WeightFiles>(format, std::move(file));
}

}  // namespace ingot::converters

// Which safetensors files make up a checkpoint: one file, or the shards that an index names.
#include <algorithm>
#include <filesystem>
#include <list>
#include <set>
#include <unordered_map>

#include "converters/sources/checkpoint.h"
#include "converters/sources/json.h"
#include "converters/sources/safetensors.h"
#include "format/error.h"

namespace ingot::converters {

namespace fs = std::filesystem;

namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

class SafetensorsCheckpoint final : public Checkpoint {
  public:
    explicit SafetensorsCheckpoint(const fs::path& folder) {
        if (fs::exists(folder / kSingleFile)) {
            open(folder / kSingleFile);
        } else if (fs::exists(folder / kIndexFile)) {
            open_index(folder);
        } else {
            fail_without_weights(folder);
        }
        for (const MappedFile& file : mapped_) files_.push_back(&file);
    }

    const std::vector<SourceTensor>& tensors() const override { return tensors_; }
    std::string_view format() const override { return "safetensors"; }
    const std::vector<const MappedFile*>& files() const override { return files_; }

  private:
    void open(const fs::path& path) {
        const MappedFile& file = mapped_.emplace_back(path);
        for (SourceTensor& tensor : parse_safetensors(file.bytes(), path.string())) {
            tensor.file = &file;
            const auto [first, added] = holder_.emplace(tensor.name, path.string());
            if (!added) {
                fail("{}: tensor \"{}\" is also in {}", path.string(), printable(tensor.name), first->second);
            }
            tensors_.push_back(std::move(tensor));
        }
    }

    void open_index(const fs::path& folder) {
        const std::string index = (folder / kIndexFile).string();
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
                 missing.size(), shards.size(), kIndexFile, fmt::join(missing, ", "));
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

    [[noreturn]] static void fail_without_weights(const fs::path& folder) {
        size_t n_pytorch = 0;
        std::vector<std::string> others;
        for (const auto& entry : fs::directory_iterator(folder)) {
            const std::string extension = entry.path().extension().string();
            if (extension == ".bin" || extension == ".pt" || extension == ".pth") ++n_pytorch;
            if (extension == ".safetensors") others.push_back(entry.path().filename().string());
        }
        std::sort(others.begin(), others.end());
        if (!others.empty()) {
            fail("{}: neither {} nor {} is there, only {}; download the index, or rename a single file",
                 folder.string(), kSingleFile, kIndexFile, fmt::join(others, ", "));
        }
        if (n_pytorch > 0) {
            fail(
                "{}: the weights are PyTorch files (.bin), which are not read yet; save the model as "
                "safetensors",
                folder.string());
        }
        fail("{}: no weights: neither {} nor {} is there", folder.string(), kSingleFile, kIndexFile);
    }

    std::list<MappedFile> mapped_;  // a list: tensors point at its elements
    std::vector<const MappedFile*> files_;
    std::vector<SourceTensor> tensors_;
    std::unordered_map<std::string, std::string> holder_;  // tensor -> path of its file
};

}  // namespace

std::unique_ptr<Checkpoint> open_safetensors(const std::string& folder) {
    if (!fs::is_directory(folder)) {
        fail("{}: {}; expected the folder of a checkpoint (config.json, *.safetensors, tokenizer files)",
             folder, fs::exists(folder) ? "not a folder" : "no such folder");
    }
    return std::make_unique<SafetensorsCheckpoint>(folder);
}

}  // namespace ingot::converters

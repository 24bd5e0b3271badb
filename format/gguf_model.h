#pragma once
// A model in one GGUF file, or split into several: "model-00001-of-00003.gguf" and so on. SPEC.md, section 1.
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace ingot {

inline constexpr uint64_t kMaxShards = UINT16_MAX;

/// The name of one shard, counted from 0, of `n_shards`: "model", 1, 3 -> "model-00002-of-00003.gguf".
std::string shard_name(std::string_view prefix, uint64_t shard, uint64_t n_shards);
/// The way back: "model", or nothing when `name` is not the name of that shard.
std::optional<std::string> shard_prefix(std::string_view name, uint64_t shard, uint64_t n_shards);

/// The mapped file or files of a model, under one header: the metadata of the first, the tensors of all.
/// Views stay valid while it lives. Thread-safe once constructed. Errors are prefixed with a file's path.
class GgufModel {
  public:
    enum class Shards { All, OnlyThis };

    /// `path` is the file, or any shard; the others must be in the same folder. With Shards::OnlyThis a shard
    /// is read as if it were all there is. Throws Error when shards are missing, naming them, and when they
    /// do not belong together. Cost: linear in the headers.
    explicit GgufModel(const std::filesystem::path& path, Shards shards = Shards::All);

    const std::filesystem::path& path() const { return path_; }    // as it was given
    const std::vector<GgufFile>& files() const { return files_; }  // in order; one unless split
    const GgufHeader& header() const { return joined_ ? *joined_ : files_.front().header(); }
    uint64_t size_bytes() const;                       // of all files
    const std::string& name() const { return name_; }  // "model", of "model.gguf" and of its shards

    const GgufFile& file_of(const TensorInfo& tensor) const { return files_[tensor.shard]; }
    std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const {
        return file_of(tensor).tensor_bytes(tensor);
    }

  private:
    void open_shards();
    void join_headers();

    std::filesystem::path path_;
    std::string name_;
    std::vector<GgufFile> files_;
    std::optional<GgufHeader> joined_;  // of more than one file
};

}  // namespace ingot

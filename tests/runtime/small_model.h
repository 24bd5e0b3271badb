// A small model of any family with random weights, for tests that ask what must hold whatever the weights
// are.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "format/gguf_writer.h"

namespace family_tests {

/// What a file of the family holds: its keys without the family's prefix, and its F32 tensors, shapes as GGUF
/// has them (the row length first).
struct SmallModel {
    std::string family;
    std::vector<std::pair<std::string, ingot::MetadataValue>> keys;
    struct Tensor {
        std::string name;
        std::vector<uint64_t> shape;
    };
    std::vector<Tensor> tensors;

    void set(const std::string& key, ingot::MetadataValue value);
    void add(const std::string& name, std::vector<uint64_t> shape) {
        tensors.push_back({name, std::move(shape)});
    }
};

constexpr uint32_t kLayers = 4, kWidth = 64, kInner = 96, kVocabulary = 128, kContext = 64;

/// One model for each way that families differ; "gemma2" and so on.
std::vector<SmallModel> small_models();
/// Throws when there is none of the name.
SmallModel small_model(const std::string& family);

/// The model's file in the temporary folder, removed at the end. The same model gets the same weights.
class SmallFile {
  public:
    explicit SmallFile(const SmallModel& model);
    ~SmallFile();
    SmallFile(const SmallFile&) = delete;
    const std::filesystem::path& path() const { return path_; }

  private:
    std::filesystem::path path_;
};

}  // namespace family_tests

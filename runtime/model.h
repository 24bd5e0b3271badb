#pragma once
#include <filesystem>
#include <memory>

#include "format/gguf_model.h"
#include "runtime/backend.h"
#include "runtime/hyperparameters.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/weight_memory.h"
#include "runtime/weights.h"

namespace ingot::runtime {

/// A model ready to run: the mapped file or its shards, its geometry, its weights on a device. Immutable; but
/// its backend serves one forward pass at a time.
class Model {
  public:
    /// Throws Error, prefixed with the path. `backend` must outlive the model.
    Model(const std::filesystem::path& path, Backend& backend, const LoadOptions& load = {})
        : Model(path, backend, nullptr, load) {}
    /// With one tensor in another type than the file's.
    Model(const std::filesystem::path& path, Backend& backend, const Replacement* replacement,
          const LoadOptions& load = {})
        : Model(std::make_shared<GgufModel>(path), backend, replacement, load) {}
    /// Of a file that is open already.
    Model(std::shared_ptr<const GgufModel> file, Backend& backend, const Replacement* replacement,
          const LoadOptions& load);

    const GgufModel& file() const { return *file_; }
    const Hyperparameters& hyperparameters() const { return hyperparameters_; }
    const Weights& weights() const { return weights_; }
    Backend& backend() const { return backend_; }
    /// Where the tensor's bytes are while the model runs: in the mapped file, or in memory of its own.
    std::span<const std::byte> tensor_bytes(const TensorInfo& tensor) const {
        return memory_->bytes_of(tensor);
    }

    /// Parts of a model: its layers, and in the order in which a pass uses them …
    static constexpr int64_t kBeginning = -1;  // … embeddings
    static constexpr int64_t kEnd = -2;        // … what makes logits
    /// The part that a tensor of this name belongs to.
    static int64_t part_of(std::string_view tensor);
    /// Returns when the bytes of a layer, or of one of these, are there. Free when everything is.
    void wait_for(int64_t part) const {
        if (!memory_->is_complete()) wait_for_part(part);
    }
    /// Loaded separately: token ids can be run without it. Throws Error, prefixed with the path.
    std::unique_ptr<Tokenizer> load_tokenizer() const;

  private:
    void wait_for_part(int64_t part) const;

    std::shared_ptr<const GgufModel> file_;
    std::unique_ptr<WeightMemory> memory_;
    Backend& backend_;
    Hyperparameters hyperparameters_;
    Weights weights_;
};

}  // namespace ingot::runtime

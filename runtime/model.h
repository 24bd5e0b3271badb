#pragma once
#include <filesystem>
#include <memory>

#include "format/gguf_model.h"
#include "runtime/backend.h"
#include "runtime/hyperparameters.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/weights.h"

namespace ingot::runtime {

/// A model ready to run: the mapped file or its shards, its geometry, its weights on a device. Immutable; but
/// its backend serves one forward pass at a time.
class Model {
  public:
    /// Throws Error, prefixed with the path. `backend` must outlive the model.
    Model(const std::filesystem::path& path, Backend& backend) : Model(path, backend, nullptr) {}
    /// With one tensor in another type than the file's.
    Model(const std::filesystem::path& path, Backend& backend, const Replacement* replacement);

    const GgufModel& file() const { return file_; }
    const Hyperparameters& hyperparameters() const { return hyperparameters_; }
    const Weights& weights() const { return weights_; }
    Backend& backend() const { return backend_; }
    /// Loaded separately: token ids can be run without it. Throws Error, prefixed with the path.
    std::unique_ptr<Tokenizer> load_tokenizer() const;

  private:
    GgufModel file_;
    Backend& backend_;
    Hyperparameters hyperparameters_;
    Weights weights_;
};

}  // namespace ingot::runtime

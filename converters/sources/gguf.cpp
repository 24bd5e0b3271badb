// GGUF as a source: tensors in their block layouts, metadata as it stands.
#include "converters/sources/checkpoint.h"
#include "format/gguf_model.h"

namespace ingot::converters {

namespace {

class GgufModelCheckpoint final : public GgufCheckpoint {
  public:
    explicit GgufModelCheckpoint(const std::string& path) : model_(path) {
        for (const GgufFile& file : model_.files()) files_.push_back(&file.file());
        tensors_.reserve(header().tensors().size());
        for (const TensorInfo& tensor : header().tensors()) {
            SourceTensor source;
            source.name = tensor.name;
            source.type = tensor.type;
            source.shape.assign(tensor.shape.begin(), tensor.shape.begin() + tensor.n_dims);
            source.data = model_.tensor_bytes(tensor);
            source.file = files_[tensor.shard];
            tensors_.push_back(std::move(source));
        }
    }

    const std::vector<SourceTensor>& tensors() const override { return tensors_; }
    std::string_view format() const override { return "gguf"; }
    const std::vector<const MappedFile*>& files() const override { return files_; }
    const GgufHeader& header() const override { return model_.header(); }
    const std::string& model_name() const override { return model_.name(); }

  private:
    GgufModel model_;
    std::vector<const MappedFile*> files_;
    std::vector<SourceTensor> tensors_;
};

}  // namespace

std::unique_ptr<GgufCheckpoint> open_gguf(const std::string& path) {
    return std::make_unique<GgufModelCheckpoint>(path);
}

}  // namespace ingot::converters

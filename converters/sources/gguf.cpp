// A GGUF file as a source: its tensors in their block layouts, its metadata as it stands.
#include "converters/sources/checkpoint.h"
#include "format/error.h"

namespace ingot::converters {

namespace {

class GgufFileCheckpoint final : public GgufCheckpoint {
  public:
    explicit GgufFileCheckpoint(const std::string& path) : gguf_(path), files_{&gguf_.file()} {
        const auto n_shards = header().get_uint("split.count");
        if (n_shards && *n_shards > 1) {
            fail("{}: one of {} parts of a split model; merge the parts into one file first", path,
                 *n_shards);
        }
        tensors_.reserve(header().tensors().size());
        for (const TensorInfo& tensor : header().tensors()) {
            SourceTensor source;
            source.name = tensor.name;
            source.type = tensor.type;
            source.shape.assign(tensor.shape.begin(), tensor.shape.begin() + tensor.n_dims);
            source.data = gguf_.tensor_bytes(tensor);
            source.file = &gguf_.file();
            tensors_.push_back(std::move(source));
        }
    }

    const std::vector<SourceTensor>& tensors() const override { return tensors_; }
    std::string_view format() const override { return "gguf"; }
    const std::vector<const MappedFile*>& files() const override { return files_; }
    const GgufHeader& header() const override { return gguf_.header(); }

  private:
    GgufFile gguf_;
    std::vector<const MappedFile*> files_;
    std::vector<SourceTensor> tensors_;
};

}  // namespace

std::unique_ptr<GgufCheckpoint> open_gguf(const std::string& path) {
    return std::make_unique<GgufFileCheckpoint>(path);
}

}  // namespace ingot::converters

#include "runtime/model.h"

#include <charconv>
#include <string_view>

#include "format/error.h"

namespace ingot::runtime {
namespace {

template <typename Work>
auto with_path(const GgufModel& file, Work&& work) {
    try {
        return work();
    } catch (const Error& error) {
        fail("{}: {}", file.path().string(), error.what());
    }
}

}  // namespace

Model::Model(std::shared_ptr<const GgufModel> file, Backend& backend, const Replacement* replacement,
             const LoadOptions& load)
    : file_(std::move(file)),
      memory_(with_path(*file_, [&] { return std::make_unique<WeightMemory>(*file_, load); })),
      backend_(backend),
      hyperparameters_(with_path(*file_, [&] { return Hyperparameters::from_header(file_->header()); })),
      weights_(with_path(*file_, [&] {
          return Weights::load(*file_, hyperparameters_, backend, replacement, memory_.get());
      })) {}

int64_t Model::part_of(std::string_view tensor) {
    if (tensor.starts_with("output")) return kEnd;
    if (!tensor.starts_with("blk.")) return kBeginning;
    int64_t layer = 0;
    std::from_chars(tensor.data() + 4, tensor.data() + tensor.size(), layer);
    return layer;
}

void Model::wait_for_part(int64_t part) const {
    for (const TensorInfo& tensor : file_->header().tensors()) {
        if (part_of(tensor.name) == part) memory_->wait_for(tensor);
    }
}

std::unique_ptr<Tokenizer> Model::load_tokenizer() const {
    return with_path(*file_, [&] { return Tokenizer::from_header(file_->header()); });
}

}  // namespace ingot::runtime

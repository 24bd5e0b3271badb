#include "runtime/model.h"

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

Model::Model(const std::filesystem::path& path, Backend& backend, const Replacement* replacement)
    : file_(path),
      backend_(backend),
      hyperparameters_(with_path(file_, [&] { return Hyperparameters::from_header(file_.header()); })),
      weights_(
          with_path(file_, [&] { return Weights::load(file_, hyperparameters_, backend, replacement); })) {}

std::unique_ptr<Tokenizer> Model::load_tokenizer() const {
    return with_path(file_, [&] { return Tokenizer::from_header(file_.header()); });
}

}  // namespace ingot::runtime

#include "runtime/model.h"

#include "format/error.h"

namespace ingot::runtime {
namespace {

template <typename Work>
auto with_path(const GgufFile& file, Work&& work) {
    try {
        return work();
    } catch (const Error& error) {
        fail("{}: {}", file.path().string(), error.what());
    }
}

void refuse_shard(const GgufHeader& header) {
    const uint64_t n_files = header.get_uint("split.count").value_or(1);
    if (n_files > 1) {
        fail(
            "one of the {} files of a split model, which cannot be run yet; write it as one file, without "
            "--split-max-size",
            n_files);
    }
}

}  // namespace

Model::Model(const std::filesystem::path& path, Backend& backend, const Replacement* replacement)
    : file_(path),
      backend_(backend),
      hyperparameters_(with_path(file_,
                                 [&] {
                                     refuse_shard(file_.header());
                                     return Hyperparameters::from_header(file_.header());
                                 })),
      weights_(
          with_path(file_, [&] { return Weights::load(file_, hyperparameters_, backend, replacement); })) {}

std::unique_ptr<Tokenizer> Model::load_tokenizer() const {
    return with_path(file_, [&] { return Tokenizer::from_header(file_.header()); });
}

}  // namespace ingot::runtime

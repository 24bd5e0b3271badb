#pragma once
// A checkpoint is a set of named tensors in their original form, whatever file they come from.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "format/mapped_file.h"
#include "format/tensor_type.h"

namespace ingot::converters {

/// F32, F16, BF16 and F64: numbers by themselves, neither integers nor blocks.
bool is_float(TensorType type);

/// One tensor as the source stores it.
struct SourceTensor {
    std::string name;
    TensorType type{};       // element type, block layouts included (a GGUF as the source)
    std::string unreadable;  // the name of an element type that has no TensorType ("F8_E4M3"); else empty
    std::vector<uint64_t> shape;  // GGUF order: shape[0] is the row length (the last dimension in PyTorch)
    /// Elements from one index to the next in each dimension, as `shape`. Empty: rows are contiguous and in
    /// order. Only PyTorch files have others, and only tensors of plain types.
    std::vector<uint64_t> strides;
    /// From the first element to the last, mapped; valid while the checkpoint lives.
    std::span<const std::byte> data;
    const MappedFile* file = nullptr;

    uint64_t row_elements() const { return shape.empty() ? 1 : shape[0]; }
    uint64_t n_rows() const;
    uint64_t n_elements() const { return row_elements() * n_rows(); }
};

/// Not copyable; immutable and thread-safe once opened.
class Checkpoint {
  public:
    virtual ~Checkpoint() = default;
    virtual const std::vector<SourceTensor>& tensors() const = 0;  // in file order
    virtual std::string_view format() const = 0;                   // "safetensors", "pytorch", "gguf" …
    /// The files that hold the tensors.
    virtual const std::vector<const MappedFile*>& files() const = 0;

    /// Compares the bytes with the checksums that the files hold, where their format has some: reads
    /// everything once. Throws Error naming what is damaged.
    virtual void check_contents() const {}

    const SourceTensor* find(std::string_view name) const;  // null when absent. O(n)
};

/// The weights of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json
/// names, or else pytorch_model.bin, or the shards of pytorch_model.bin.index.json. Throws Error naming the
/// missing or malformed file.
std::unique_ptr<Checkpoint> open_checkpoint(const std::string& folder);
/// One file, safetensors or PyTorch as its content says.
std::unique_ptr<Checkpoint> open_weights_file(const std::string& path);
/// A GGUF file, or all shards of one, as a source of tensors and of metadata.
class GgufCheckpoint : public Checkpoint {
  public:
    virtual const GgufHeader& header() const = 0;
    virtual const std::string& model_name() const = 0;  // the file's name without its end
};
/// `path` is the file or any shard.
std::unique_ptr<GgufCheckpoint> open_gguf(const std::string& path);

}  // namespace ingot::converters

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

/// One tensor as the source stores it. Rows are contiguous and in order.
struct SourceTensor {
    std::string name;
    TensorType type{};       // element type, block layouts included (a GGUF as the source)
    std::string unreadable;  // the name of an element type that has no TensorType ("F8_E4M3"); else empty
    std::vector<uint64_t> shape;  // GGUF order: shape[0] is the row length (the last dimension in PyTorch)
    std::span<const std::byte> data;  // whole tensor, mapped; valid while the checkpoint lives
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
    virtual std::string_view format() const = 0;                   // "safetensors" or "gguf"
    /// The files that hold the tensors.
    virtual const std::vector<const MappedFile*>& files() const = 0;

    const SourceTensor* find(std::string_view name) const;  // null when absent. O(n)
};

/// All safetensors of a Hugging Face folder: model.safetensors, or the shards that
/// model.safetensors.index.json names. Throws Error naming the missing or malformed file.
std::unique_ptr<Checkpoint> open_safetensors(const std::string& folder);
/// A GGUF file as a source of tensors, and of metadata.
class GgufCheckpoint : public Checkpoint {
  public:
    virtual const GgufHeader& header() const = 0;
};
std::unique_ptr<GgufCheckpoint> open_gguf(const std::string& path);

}  // namespace ingot::converters

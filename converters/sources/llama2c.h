#pragma once
// Checkpoints of llama2.c: one file of raw numbers behind a small header, and a model of the Llama family.
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "converters/rows/weight_set.h"

namespace ingot::converters {

/// Its tensors have the names of Hugging Face's Llama. Rows of Q and K stand as llama2.c has them (elements
/// that rotate together are neighbours); llama2c_weights() puts them into Hugging Face's order.
class Llama2cCheckpoint : public Checkpoint {
  public:
    /// What config.json would say of the model.
    virtual const std::string& config_json() const = 0;
    /// "llama2.c, version 2, int8 in groups of 64"
    virtual std::string describe() const = 0;
    virtual uint64_t head_elements() const = 0;
    virtual uint64_t group_elements() const = 0;  // of int8 (version 2); 0 for floats
};

/// Whether the content is one of llama2.c's three formats: by its magic number, or, for the oldest, which has
/// none, by a header that gives exactly the file's size.
bool is_llama2c(std::span<const std::byte> file);

/// Throws Error when the header makes no sense or the file has another size than it implies.
std::unique_ptr<Llama2cCheckpoint> open_llama2c(const std::string& path);

/// The weights as Hugging Face's Llama has them.
WeightSet llama2c_weights(const Llama2cCheckpoint& checkpoint);

}  // namespace ingot::converters

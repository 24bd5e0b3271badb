#pragma once
// Model files of a given shape with random weights: for measuring speed where no real model is at hand.
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "format/gguf_writer.h"
#include "format/tensor_type.h"

namespace ingot::runtime {

/// A Llama-shaped model. Every width is a multiple of 256, so that all layouts apply.
struct SyntheticShape {
    std::string_view name;
    uint32_t n_layers;
    uint32_t n_embd;
    uint32_t n_ff;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t n_vocab;    // tokens, at least 512
    uint32_t n_context;  // positions
    bool tied_output;    // the embedding is the output matrix too
};
std::span<const SyntheticShape> synthetic_shapes();
/// Null when there is no such shape.
const SyntheticShape* find_synthetic_shape(std::string_view name);

/// The tensors of the shape, all F32, in the order of the file. Names and shapes only: the caller sets types.
std::vector<TensorPlan> synthetic_tensors(const SyntheticShape& shape);
/// Whether write_synthetic() can make random blocks of this type.
bool is_synthesizable(TensorType type);

/// Writes a complete file, with a vocabulary that llama.cpp loads too: random block bytes whose scales are
/// set so that activations stay of order 1. The same `seed` makes the same bytes. Memory is bounded by one
/// chunk. Returns false, with nothing written, when `cancel` became true.
bool write_synthetic(const SyntheticShape& shape, std::vector<TensorPlan> tensors, uint32_t file_type,
                     const std::filesystem::path& path, bool overwrite, uint64_t seed,
                     const std::atomic<bool>* cancel = nullptr);

}  // namespace ingot::runtime

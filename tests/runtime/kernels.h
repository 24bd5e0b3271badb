// What the tests of the CPU kernels share: random rows of every layout, activations, and a product to check.
#pragma once
#include <cstdint>
#include <random>
#include <vector>

#include "format/tensor_type.h"
#include "runtime/cpu/kernels.h"

namespace kernel_tests {

using ingot::TensorType;
using ingot::runtime::cpu::ActivationForm;
using ingot::runtime::cpu::Kernels;
using ingot::runtime::cpu::Way;

/// Every layout that the scalar table knows.
std::vector<TensorType> layouts();
/// Elements of a block; a row has a multiple of them.
int64_t block_elements(TensorType type);

enum class Values {
    Random,    // every bit pattern of the quants and scales, moderate halves of both signs
    Zero,      // all bytes zero
    Largest,   // all quants and scales with all bits set, halves of the largest magnitude
    Negative,  // random quants, all halves negative
};
/// Where the halves of a block are: they must be finite, everything else may be any bits.
std::vector<size_t> half_offsets(TensorType type);
/// Bytes of `n_rows` rows of `n_in` elements, valid and finite. Rows follow each other without padding.
std::vector<uint8_t> random_rows(TensorType type, int64_t n_rows, int64_t n_in, Values values, uint32_t seed);

/// Floats of a normal distribution, with an outlier in every 100.
std::vector<float> random_floats(size_t n, uint32_t seed, float offset = 0);

/// Rows of activations in a form, as `kernels` makes them.
std::vector<uint8_t> make_activations(const Kernels& kernels, ActivationForm form,
                                      const std::vector<float>& x, int64_t n_in);

/// (n_tokens, n_rows)
std::vector<float> multiply(const Kernels::Matmul& matmul, const std::vector<uint8_t>& weights,
                            int64_t n_rows, int64_t n_in, const std::vector<uint8_t>& activations,
                            int64_t n_tokens);

/// The same through the table's panels, or its matrix registers, from rows of activations that are packed
/// into tiles first: in the layout's form, or of floats.
std::vector<float> multiply_tiles(const Kernels& kernels, const Kernels::Matmul& matmul, Way way,
                                  const std::vector<uint8_t>& weights, int64_t n_rows, int64_t n_in,
                                  const std::vector<uint8_t>& activations, int64_t n_tokens);

/// |a - b| / |b|, Euclidean; |a| when b is zero.
double relative_error(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace kernel_tests

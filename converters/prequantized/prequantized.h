#pragma once
// Checkpoints that another library has quantized already: their weights as rows of floats, bit for bit what
// that library computes when it dequantizes them.
#include <cstddef>
#include <string>
#include <vector>

#include "converters/rows/weight_set.h"
#include "converters/sources/json.h"

namespace ingot::converters {

/// What was found.
struct Prequantized {
    std::string form;      // "bitsandbytes NF4, double quantization, blocks of 64"; empty: none
    size_t n_decoded = 0;  // weights
    size_t n_weights = 0;  // of the checkpoint, once decoded
    std::vector<std::string> warnings;

    /// "bitsandbytes NF4, double quantization, blocks of 64; 224 of 291 tensors"; empty when nothing was
    /// quantized.
    std::string describe() const;
};

/// Replaces the parts that quantized weights are stored as (X.weight.absmax, X.qweight, X.weight_scale_inv …)
/// by one weight of the plain name and shape. `config` is config.json. Does nothing to a checkpoint that is
/// not quantized. Throws Error when the form is one that is not decoded, naming it and what to do, or listing
/// every weight whose parts are missing or do not fit together.
Prequantized decode_prequantized(const Json& config, const Checkpoint& checkpoint, WeightSet& weights);

}  // namespace ingot::converters

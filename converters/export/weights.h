#pragma once
// A GGUF's tensors under the names, and in the layout, of a Hugging Face checkpoint.
#include <string>
#include <vector>

#include "converters/architectures/model_config.h"
#include "converters/findings.h"
#include "converters/rows/tensor_rows.h"
#include "converters/sources/checkpoint.h"

namespace ingot::converters {

struct ExportedTensor {
    std::string name;  // model.layers.0.self_attn.q_proj.weight
    RowsPtr rows;      // shape in GGUF's order
};

/// Applies the rules of the model's family backwards; see rows/inverse.h. Tensors that no rule makes, and
/// those whose making cannot be undone, become problems.
std::vector<ExportedTensor> exported_tensors(const ModelConfig& model, const Checkpoint& gguf,
                                             Findings& findings);

}  // namespace ingot::converters

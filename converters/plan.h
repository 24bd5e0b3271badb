#pragma once
// What a conversion will do, decided before the first byte moves: every name, shape, type and offset.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "converters/quantize/recipe.h"
#include "converters/rows/tensor_rows.h"
#include "converters/sources/checkpoint.h"
#include "format/gguf_writer.h"

namespace ingot::converters {

/// Where the values of one tensor of the file come from. Its name, type, shape and offset are in the layout.
struct TensorSource {
    RowsPtr rows;
    std::string fallback_reason;  // why it has not the type that the recipe wanted; else empty
};

struct ConversionPlan {
    std::string source;                      // the folder or file, as given
    std::unique_ptr<Checkpoint> checkpoint;  // owns what `tensors` read from
    const Recipe* recipe = nullptr;
    GgufLayout layout;
    std::vector<TensorSource> tensors;  // one for each of the layout's, in its order
    std::string model_name;             // "Tolstoy-5M": the file's default name, but for the encoding
    uint64_t source_bytes = 0;          // of the tensors that are read
    uint64_t n_elements = 0;            // of the tensors that are written
    std::vector<std::string> warnings;
    std::vector<std::string> left_out;  // source tensors that are not needed

    double bits_per_weight() const;
};

/// A Hugging Face folder. Throws Error when anything in it does not fit together, or is not supported yet.
ConversionPlan plan_checkpoint(const std::string& folder, const Recipe& recipe);

/// A GGUF file, re-encoded. Tensors that are quantized already are an error unless `allow_requantize`.
ConversionPlan plan_gguf(const std::string& path, const Recipe& recipe, bool allow_requantize);

/// "Tolstoy-5M-Q4_K_M.gguf"
std::string default_output_name(const ConversionPlan& plan);

/// Finds what would make the writing fail: the output is one of the sources, it exists already, its folder is
/// missing, or the disk is too full. Throws Error saying so.
void check_output(const ConversionPlan& plan, const std::string& output, bool overwrite);

}  // namespace ingot::converters

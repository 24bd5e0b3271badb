#pragma once
// config.json and generation_config.json of an exported checkpoint.
#include <string>

#include "format/gguf.h"
#include "format/tensor_type.h"

namespace ingot::converters {

/// The config.json that the file was made from, if it holds one (ingot.source.config), or else one made from
/// its hyperparameters. Says that the weights are of `type` and not quantized. Throws Error when neither is
/// possible.
std::string exported_config(const GgufHeader& header, TensorType type);
/// The same from the text of a config.json. `name` stands for it in messages.
std::string exported_config(const std::string& text, const std::string& name, TensorType type);

/// Sampling defaults and the tokens that end generation.
std::string exported_generation_config(const GgufHeader& header);

}  // namespace ingot::converters

#pragma once
// What a model is called, from its folder's name and its size.
#include <cstdint>
#include <string>

namespace ingot::converters {

struct ModelName {
    std::string file_stem;   // "Tolstoy-5M", to be followed by "-Q4_K_M.gguf"
    std::string display;     // "Tolstoy 5M"
    std::string size_label;  // "5M"
};

/// `folder` may be relative or a snapshot inside Hugging Face's cache (…/models--org--Name/snapshots/<hash>).
/// The size label is the one in the folder's name or else the rounded number of weights.
ModelName model_name(const std::string& folder, uint64_t n_weights);

/// 1,100,048,384 -> "1.1B"; two digits or more.
std::string size_label(uint64_t n_weights);

}  // namespace ingot::converters

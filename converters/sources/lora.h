#pragma once
// Adapters as PEFT saves them: a folder with adapter_config.json and adapter_model.safetensors (or .bin).
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "converters/rows/weight_set.h"

namespace ingot::converters {

/// What the user asks for: "DIR" or "DIR:scale".
struct AdapterChoice {
    std::string folder;
    double scale = 1;  // on top of the adapter's own alpha / rank
};
/// The text after the last colon is the scale when it is a number and no such folder exists. Throws Error
/// when the folder does not exist.
AdapterChoice parse_adapter_choice(std::string_view text);

/// What merging did. The weights own what they read from the adapter.
struct MergedAdapter {
    std::string description;  // "LoRA, rank 16, scale 2: 224 weights adapted, 1 replaced"
    std::shared_ptr<const Checkpoint> checkpoint;  // of the adapter: its files are sources, too
    std::vector<std::string> warnings;
};

/// Adds the adapter's low-rank updates to the weights they belong to (computed when rows are read), and
/// replaces those that it holds whole (modules to save, biases). Several adapters add up. Call it after
/// decode_prequantized(). Throws Error when the adapter is of another kind than LoRA, when a setting cannot
/// be carried over, or listing every tensor of it that has no weight to go to.
MergedAdapter merge_adapter(WeightSet& weights, const std::string& folder, double scale = 1);

}  // namespace ingot::converters

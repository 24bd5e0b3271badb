#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "cli/console.h"
#include "inspect/diff.h"

namespace ingot::cli {

/// "metadata: 30 the same, 2 changed, …", then a line for each key that changed.
std::string key_changes_view(std::span<const inspect::KeyDifference> keys, uint64_t n_same,
                             const Painter& paint, size_t columns);
/// Arrays of one element type: what differs between them is an element.
bool are_like_arrays(const inspect::KeyDifference& key);

}  // namespace ingot::cli

#pragma once
#include <span>

#include "runtime/backend.h"

namespace ingot::runtime {

/// What may come after a token: the logits of all tokens (n_vocab), or only the largest, best first, where
/// those are there.
struct Logits {
    std::span<const float> all;
    std::span<const TokenLogit> largest = {};
};

}  // namespace ingot::runtime

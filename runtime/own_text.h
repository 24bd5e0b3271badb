#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "runtime/model.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

struct OwnTextOptions {
    int64_t n_texts = 128;
    int64_t n_tokens = 512;  // of each, with the one that begins it
    int64_t n_at_once = 16;  // texts that are written at the same time, each with its KV cache
    uint64_t seed = 1;       // of the first text; those behind it have the next numbers
    std::function<void(int64_t done, int64_t all)> on_progress;  // in tokens; may be empty
    const std::atomic<bool>* cancel = nullptr;                   // polled between layers; may be null
};

/// A text to calibrate on where nobody has one: what the model itself would write, every token drawn by its
/// probability alone from the first one on. What the model finds likely is where it must not change.
/// (Data-free calibration as in LLM-QAT, Liu et al. 2023, without their greedy beginning.) Returns n_texts *
/// n_tokens tokens; each text begins with the token that begins texts, and one that the model ends early is
/// followed by another. Depends on the seed, and on how the processor rounds: not on the number of threads.
/// Empty when `cancel` became true. Throws Error when the model has no token to begin with, or ends its texts
/// at once.
std::vector<Token> write_own_text(const Model& model, const Tokenizer& tokenizer,
                                  const OwnTextOptions& options);

}  // namespace ingot::runtime

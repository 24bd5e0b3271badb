#pragma once
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/forward.h"
#include "runtime/sampler.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// Turns pieces of UTF-8 that may be cut anywhere into pieces that are cut between characters. Bytes that can
/// be no part of a character pass through as they are.
class Utf8Stream {
  public:
    /// The bytes that are complete now. The view is valid until the next call.
    std::string_view append(std::string_view bytes);
    /// What is left when no more will come: an unfinished character, or nothing.
    std::string_view flush();

  private:
    std::string pending_;  // begins where the last answer ended
    std::string ready_;
};

enum class StopReason : uint8_t { EndOfGeneration, Length, ContextFull, Cancelled };

struct Generation {
    std::vector<Token> tokens;  // generated; without the token that ended it
    StopReason reason = StopReason::Length;
    double prompt_seconds = 0;
    double generation_seconds = 0;  // for the tokens after the first
    int64_t n_evaluated = 0;        // tokens that generation_seconds covers
};

/// Runs the prompt and samples up to `n_tokens` tokens (negative: until the context is full), handing the
/// text to `on_text` as soon as whole characters are there. `cancel` (may be null) is polled between layers.
/// Throws Error when the prompt is empty or does not fit in the context.
Generation generate(ForwardPass& forward, const Tokenizer& tokenizer, std::span<const Token> prompt,
                    Sampler& sampler, int64_t n_tokens, const std::function<void(std::string_view)>& on_text,
                    const std::atomic<bool>* cancel = nullptr);

}  // namespace ingot::runtime

#pragma once
#include <atomic>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/drafter.h"
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
    int64_t n_prompt_evaluated = 0;  // tokens of the prompt that prompt_seconds covers
    double prompt_seconds = 0;
    double generation_seconds = 0;       // for the tokens after the first
    int64_t n_evaluated = 0;             // tokens that generation_seconds covers
    int64_t n_guessed = 0, n_right = 0;  // tokens that a drafter guessed, and those of them that stood
};

/// Passes of up to this many tokens add up as single tokens do, bit by bit; longer ones use other kernels,
/// whose sums are rounded in another order.
inline constexpr int64_t kExactTokens = 7;
inline constexpr int64_t kDefaultGuesses = kExactTokens - 1;

struct GenerateOptions {
    int64_t n_tokens = -1;  // negative: until the context is full
    /// Gets the text as soon as whole characters are there.
    std::function<void(std::string_view)> on_text;
    /// Called when the whole prompt is read, and has logits; may be empty.
    std::function<void()> on_prompt_read;
    Drafter* drafter = nullptr;  // guesses up to n_most_guesses tokens for each pass; null: none
    int64_t n_most_guesses = kDefaultGuesses;
    const std::atomic<bool>* cancel = nullptr;  // polled between layers; may be null
};

/// Runs the prompt and samples. The forward pass may have read the beginning of the prompt already, from a
/// saved session; if it has read all, it has the logits, too. Throws Error when the prompt is empty or does
/// not fit in the context.
Generation generate(ForwardPass& forward, const Tokenizer& tokenizer, std::span<const Token> prompt,
                    Sampler& sampler, const GenerateOptions& options);

/// Several prompts, as many of them at once as the forward pass has sequences; one that has ended makes room
/// for the next.
struct ParallelOptions {
    int64_t n_tokens = -1;   // of each; negative: until its context is full
    SamplerOptions sampler;  // prompt i has the seed of this one, plus i
    std::function<void(size_t prompt, std::string_view text)> on_text;
    std::function<void(size_t prompt)> on_end;  // no more text of this one; may be empty
    const std::atomic<bool>* cancel = nullptr;
};
struct ParallelGeneration {
    std::vector<Generation> generations;  // of each prompt; times are not taken apart
    double seconds = 0;                   // for all
    int64_t n_prompt_tokens = 0, n_tokens = 0;
    bool cancelled = false;
};

/// The tokens of each prompt are those of generate(): exactly with up to kExactTokens sequences, and up to
/// the rounding of sums with more. Throws Error, naming the prompt by its number counted from 1, when one is
/// empty or does not fit.
ParallelGeneration generate_parallel(ForwardPass& forward, const Tokenizer& tokenizer,
                                     std::span<const std::vector<Token>> prompts,
                                     const ParallelOptions& options);

}  // namespace ingot::runtime

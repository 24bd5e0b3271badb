#pragma once
// Guesses at the next tokens, for speculative decoding: cheap, and checked by the model afterwards.
#include <memory>
#include <span>
#include <vector>

#include "runtime/forward.h"
#include "runtime/sampler.h"
#include "runtime/tokenizer/tokenizer.h"

namespace ingot::runtime {

/// A guess, and the distribution that it was drawn from; no distribution: it was certain.
struct Guess {
    Token token;
    std::vector<TokenProbability> distribution;
};

/// Not thread-safe.
class Drafter {
  public:
    virtual ~Drafter() = default;
    /// Up to `n_most` guesses of what follows `sequence`; none when there is nothing to go by. How many there
    /// are may depend on distributions, but not on what was drawn from them: the text's distribution would
    /// suffer.
    virtual std::vector<Guess> guess(std::span<const Token> sequence, int64_t n_most) = 0;
};

/// Guesses that what followed the last few tokens before will follow them again (Saxena 2023, prompt lookup).
/// Linear in the sequence.
class LookupDrafter final : public Drafter {
  public:
    std::vector<Guess> guess(std::span<const Token> sequence, int64_t n_most) override;
};

/// Asks a smaller model with the same vocabulary.
class ModelDrafter final : public Drafter {
  public:
    /// `draft` must outlive the drafter; `options` are those of the text. Throws Error, prefixed with the
    /// draft model's path, unless both vocabularies are the same, token by token.
    ModelDrafter(const Model& draft, const Tokenizer& draft_tokenizer, const Model& model,
                 const Tokenizer& tokenizer, int64_t n_context, const SamplerOptions& options);

    std::vector<Guess> guess(std::span<const Token> sequence, int64_t n_most) override;

  private:
    void read(std::span<const Token> sequence);

    ForwardPass forward_;
    SamplerOptions options_;
    Sampler sampler_;
    std::vector<Token> tokens_;  // that forward_ has read
    int64_t n_kept_ = 0;         // positions that a recurrent model can go back to
};

}  // namespace ingot::runtime

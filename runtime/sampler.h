#pragma once
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "runtime/logits.h"

namespace ingot::runtime {

struct SamplerOptions {
    float temperature = 0.8f;  // 0: greedy
    int32_t top_k = 40;        // the k most likely tokens; 0: all
    float top_p = 0.95f;       // the fewest tokens that together have this probability; 1: all
    float min_p = 0.05f;       // tokens at least this fraction as likely as the best; 0: all
    float repeat_penalty =
        1.0f;  // divides positive logits of recent tokens, multiplies negative ones; 1: none
    int32_t repeat_window = 64;  // recent tokens
    uint64_t seed = 0;
};

struct TokenProbability {
    Token token;
    double probability;
};

/// Chooses the next token. Deterministic for a seed and a sequence of logits, on every platform.
/// Not thread-safe. O(n_vocab), times a logarithm for the tokens that survive top-k.
class Sampler {
  public:
    /// Throws Error when an option is out of its range.
    explicit Sampler(const SamplerOptions& options);

    /// Tells of a token that was not sampled here (the prompt's), for the repeat penalty.
    void accept(Token token);
    /// The next token, accepted already. `logits` (n_vocab); ties go to the lower id. Throws Error when no
    /// logit is a number.
    Token sample(const Logits& logits);
    Token sample(std::span<const float> logits) { return sample(Logits{logits}); }

    /// How many of the largest logits decide what sample() does; 0: all of them.
    int64_t n_deciding() const;

    /// What sample() draws from: the tokens that may come, likeliest first; probabilities sum to 1. The view
    /// is valid until the next call.
    std::span<const TokenProbability> distribution(const Logits& logits);
    std::span<const TokenProbability> distribution(std::span<const float> logits) {
        return distribution(Logits{logits});
    }
    Token draw(std::span<const TokenProbability> distribution);
    /// The next random number, in [0, 1).
    double uniform();
    /// Forgets the tokens that it was told of.
    void forget() {
        recent_.clear();
        recent_next_ = 0;
    }

  private:
    void penalize(bool all);
    void normalize();

    SamplerOptions options_;
    std::mt19937_64 random_;
    std::vector<Token> recent_;  // ring of the last repeat_window tokens
    size_t recent_next_ = 0;
    std::vector<TokenLogit> candidates_;
    std::vector<TokenProbability> probabilities_;
};

}  // namespace ingot::runtime

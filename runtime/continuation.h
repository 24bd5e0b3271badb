#pragma once
// What comes next, token after token, or several at once where they were guessed right.
#include <atomic>
#include <optional>
#include <span>
#include <vector>

#include "runtime/drafter.h"
#include "runtime/forward.h"
#include "runtime/sampler.h"

namespace ingot::runtime {

/// Speculative sampling (Leviathan et al. 2023, section 2.3): whether a guess, drawn from its own
/// distribution q, may stand as if it had been drawn from `distribution`, p: with probability min(1, p/q).
/// Otherwise the answer is the token that stands in its place, drawn from max(0, p - q), normalized. Together
/// the tokens are distributed as p.
std::optional<Token> replacement(const Guess& guess, std::span<const TokenProbability> distribution,
                                 Sampler& sampler);

/// Continues sequence 0 of a forward pass, which has read `sequence` and has the logits after it. Not
/// thread-safe.
class Continuation {
  public:
    /// `drafter` may be null: one token at a time. All must outlive it.
    Continuation(ForwardPass& forward, Sampler& sampler, std::span<const Token> sequence,
                 Drafter* drafter = nullptr, int64_t n_most_guesses = 0);

    /// The next tokens, at least one and at most `n_most`; those of the sampler, in distribution, and when it
    /// is greedy the very same, with and without a drafter. None when cancelled. All but the last are read
    /// already.
    std::vector<Token> next(int64_t n_most, const std::atomic<bool>* cancel = nullptr);
    /// Whether the context has room for another next().
    bool has_room() const { return forward_.cache().n_used() < forward_.n_context() || !is_pending_; }

    int64_t n_guessed() const { return n_guessed_; }
    int64_t n_right() const { return n_right_; }  // guesses that stood

  private:
    void go_back(int64_t n_positions, std::span<const Token> read_again);

    ForwardPass& forward_;
    Sampler& sampler_;
    std::vector<Token> sequence_;
    Drafter* drafter_;
    bool is_pending_ = false;  // the last token of sequence_ is not read yet
    int64_t n_most_guesses_;   // of one pass
    int64_t n_guesses_;        // … for the next one: more after success, fewer after failure
    int64_t n_guessed_ = 0, n_right_ = 0;
};

}  // namespace ingot::runtime

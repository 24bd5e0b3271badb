#include "runtime/continuation.h"

#include <algorithm>

namespace ingot::runtime {
namespace {

double probability_of(Token token, std::span<const TokenProbability> distribution) {
    const auto found = std::ranges::find(distribution, token, &TokenProbability::token);
    return found == distribution.end() ? 0 : found->probability;
}

// Of a guess, as the drafter saw it.
double guessed_probability(const Guess& guess, Token token) {
    if (guess.distribution.empty()) return token == guess.token ? 1 : 0;
    return probability_of(token, guess.distribution);
}

}  // namespace

std::optional<Token> replacement(const Guess& guess, std::span<const TokenProbability> distribution,
                                 Sampler& sampler) {
    const double p = probability_of(guess.token, distribution);
    if (sampler.uniform() * guessed_probability(guess, guess.token) < p) return std::nullopt;

    std::vector<TokenProbability> rest;
    double total = 0;
    for (const auto& [token, probability] : distribution) {
        const double left = probability - guessed_probability(guess, token);
        if (left <= 0) continue;
        rest.push_back({token, left});
        total += left;
    }
    if (rest.empty()) return std::nullopt;  // p is q, up to rounding
    for (TokenProbability& candidate : rest) candidate.probability /= total;
    return sampler.draw(rest);
}

Continuation::Continuation(ForwardPass& forward, Sampler& sampler, std::span<const Token> sequence,
                           Drafter* drafter, int64_t n_most_guesses)
    : forward_(forward),
      sampler_(sampler),
      sequence_(sequence.begin(), sequence.end()),
      drafter_(drafter),
      n_most_guesses_(n_most_guesses),
      n_guesses_(n_most_guesses) {}

// To the first n_positions; recurrent models can only go back to where their states were kept, and read on.
void Continuation::go_back(int64_t n_positions, std::span<const Token> read_again) {
    KvCache& cache = forward_.cache();
    if (!cache.has_states()) return cache.truncate(n_positions);
    cache.truncate(n_positions - int64_t(read_again.size()));
    forward_.run(read_again, 0);
}

std::vector<Token> Continuation::next(int64_t n_most, const std::atomic<bool>* cancel) {
    if (!is_pending_) {  // the logits after the prompt are there
        sequence_.push_back(sampler_.sample(forward_.logits_of(0)));
        is_pending_ = true;
        return {sequence_.back()};
    }
    const int64_t n_before = forward_.cache().n_used();
    const int64_t n_room = std::min(n_most - 1, forward_.n_context() - n_before - 1);
    std::vector<Guess> guesses;
    if (drafter_ != nullptr && n_room > 0) guesses = drafter_->guess(sequence_, std::min(n_guesses_, n_room));

    std::vector<Token> run = {sequence_.back()};
    for (const Guess& guess : guesses) run.push_back(guess.token);
    if (!guesses.empty()) forward_.cache().keep_states();
    if (!forward_.run(run, int64_t(run.size()), cancel)) return {};

    // Row i of the logits says what comes after run[i].
    const auto logits_after = [&](size_t i) { return forward_.logits_of(int64_t(i)); };
    std::vector<Token> tokens;
    std::optional<Token> other;
    while (!other && tokens.size() < guesses.size()) {
        const Guess& guess = guesses[tokens.size()];
        other = replacement(guess, sampler_.distribution(logits_after(tokens.size())), sampler_);
        const Token token = other.value_or(guess.token);
        sampler_.accept(token);
        if (!other) tokens.push_back(token);
    }
    const int64_t n_right = int64_t(tokens.size());
    if (other) {
        tokens.push_back(*other);
        const auto right = std::span<const Token>(run).first(size_t(n_right) + 1);
        go_back(n_before + n_right + 1, right);
    } else {
        tokens.push_back(sampler_.sample(logits_after(guesses.size())));
    }
    sequence_.insert(sequence_.end(), tokens.begin(), tokens.end());

    n_guessed_ += int64_t(guesses.size());
    n_right_ += n_right;
    if (!guesses.empty()) {
        n_guesses_ = other ? std::max<int64_t>(1, n_guesses_ - 1) : std::min(n_most_guesses_, n_guesses_ + 2);
    }
    return tokens;
}

}  // namespace ingot::runtime

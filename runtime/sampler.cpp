#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>

#include "format/error.h"

namespace ingot::runtime {

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
    if (!(options.temperature >= 0) || std::isinf(options.temperature)) {
        fail("temperature is {}; expected 0 (greedy) or a number above", options.temperature);
    }
    if (options.top_k < 0) fail("top-k is {}; expected 0 (all tokens) or a number above", options.top_k);
    if (!(options.top_p > 0 && options.top_p <= 1)) {
        fail("top-p is {}; expected above 0, up to 1 (all tokens)", options.top_p);
    }
    if (!(options.min_p >= 0 && options.min_p <= 1)) {
        fail("min-p is {}; expected 0 (all tokens) to 1", options.min_p);
    }
    if (!(options.repeat_penalty > 0) || std::isinf(options.repeat_penalty)) {
        fail("repeat penalty is {}; expected a number above 0 (1: none)", options.repeat_penalty);
    }
    if (options.repeat_window < 0)
        fail("repeat window is {}; expected 0 or more tokens", options.repeat_window);
}

void Sampler::accept(Token token) {
    const size_t window = size_t(options_.repeat_window);
    if (window == 0) return;
    if (recent_.size() < window) {
        recent_.push_back(token);
    } else {
        recent_[recent_next_] = token;
        recent_next_ = (recent_next_ + 1) % window;
    }
}

// A penalty above 1 only makes logits smaller: those of so many tokens more may take the place of others.
int64_t Sampler::n_deciding() const {
    const int64_t n = options_.temperature == 0 ? 1 : options_.top_k;
    if (n == 0 || options_.repeat_penalty < 1) return 0;
    return options_.repeat_penalty == 1.0f ? n : n + options_.repeat_window;
}

// Keskar et al. 2019 (CTRL), section 4.1; each recent token once. With all tokens, candidates_[i] is token i.
void Sampler::penalize(bool all) {
    if (options_.repeat_penalty == 1.0f) return;
    std::vector<Token> tokens = recent_;
    std::ranges::sort(tokens);
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    for (const Token token : tokens) {
        const auto at = all ? candidates_.begin() + std::clamp<int64_t>(token, 0, int64_t(candidates_.size()))
                            : std::ranges::find(candidates_, token, &TokenLogit::token);
        if (at == candidates_.end() || at->token != token) continue;
        float& logit = at->logit;
        logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    }
}

Token Sampler::sample(const Logits& logits) {
    const Token token = draw(distribution(logits));
    accept(token);
    return token;
}

double Sampler::uniform() {
    // 53 random bits: the standard distributions differ between libraries.
    return double(random_() >> 11) * 0x1p-53;
}

Token Sampler::draw(std::span<const TokenProbability> distribution) {
    if (options_.temperature == 0) return distribution.front().token;
    double remaining = uniform();
    for (const TokenProbability& candidate : distribution) {
        remaining -= candidate.probability;
        if (remaining < 0) return candidate.token;
    }
    return distribution.front().token;  // rounding ate the rest
}

std::span<const TokenProbability> Sampler::distribution(const Logits& logits) {
    candidates_.assign(logits.largest.begin(), logits.largest.end());
    const bool all = logits.largest.empty();
    for (size_t i = 0; all && i < logits.all.size(); ++i) {
        const float logit = std::isnan(logits.all[i]) ? -INFINITY : logits.all[i];
        candidates_.push_back({Token(i), logit});
    }
    penalize(all);
    const auto best = std::ranges::min_element(candidates_, is_better);
    if (best == candidates_.end() || !std::isfinite(best->logit)) {
        fail("the model's logits hold no finite number; the file is damaged, `verify` names the tensor");
    }
    if (options_.temperature == 0) {
        probabilities_.assign(1, {best->token, 1});
        return probabilities_;
    }
    const double best_logit = double(best->logit);
    const size_t top_k = options_.top_k == 0 ? candidates_.size() : size_t(options_.top_k);
    if (top_k < candidates_.size()) {
        std::ranges::nth_element(candidates_, candidates_.begin() + int64_t(top_k), is_better);
        candidates_.resize(top_k);
    }
    std::ranges::sort(candidates_, is_better);

    const auto weigh = [&](double temperature) {
        probabilities_.clear();
        for (const TokenLogit& c : candidates_)
            probabilities_.push_back({c.token, std::exp((double(c.logit) - best_logit) / temperature)});
        normalize();
    };
    // top-p looks at the probabilities among the top-k, at temperature 1.
    if (options_.top_p < 1) {
        weigh(1);
        double sum = 0;
        size_t kept = 0;
        while (kept < candidates_.size() && sum < double(options_.top_p))
            sum += probabilities_[kept++].probability;
        candidates_.resize(std::max<size_t>(1, kept));
    }
    if (options_.min_p > 0) {
        const float least = float(best_logit) + std::log(options_.min_p);
        std::erase_if(candidates_, [&](const TokenLogit& c) { return c.logit < least; });
    }
    weigh(double(options_.temperature));
    return probabilities_;
}

void Sampler::normalize() {
    double total = 0;
    for (const TokenProbability& candidate : probabilities_) total += candidate.probability;
    for (TokenProbability& candidate : probabilities_) candidate.probability /= total;
}

}  // namespace ingot::runtime

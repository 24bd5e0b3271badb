#include "runtime/perplexity.h"

#include <algorithm>
#include <cmath>

#include "format/error.h"

namespace ingot::runtime {
namespace {

// Runs one chunk and appends the scores of its second half. False when cancelled.
bool score_chunk(ForwardPass& forward, std::span<const Token> chunk, int64_t chunk_begin,
                 const PerplexityOptions& options, std::vector<TokenScore>& scores) {
    const int64_t n_context = int64_t(chunk.size());
    const int64_t n_vocab = forward.model().hyperparameters().n_vocab;
    const int64_t first = n_context / 2;  // the first position whose prediction is scored
    std::vector<Token> input(chunk.begin(), chunk.end());
    if (options.bos) input[0] = *options.bos;

    forward.cache().truncate(0);
    const std::span<const Token> tokens = input;
    if (first > 0 && !forward.run(tokens.first(size_t(first)), 0, options.cancel)) return false;
    for (int64_t begin = first; begin < n_context - 1; begin += kScoredBatch) {
        const int64_t n = std::min(kScoredBatch, n_context - 1 - begin);
        if (!forward.run(tokens.subspan(size_t(begin), size_t(n)), n, options.cancel)) return false;
        for (int64_t i = 0; i < n; ++i) {
            const auto logits = forward.logits().subspan(size_t(i * n_vocab), size_t(n_vocab));
            const Token next = chunk[size_t(begin + i + 1)];
            scores.push_back({chunk_begin + begin + i + 1, next, negative_log_likelihood(logits, next)});
            if (options.on_score) options.on_score(logits, scores.back());
        }
    }
    return true;
}

void summarize(Perplexity& result) {
    if (result.scores.empty()) return;
    const double n = double(result.scores.size());
    double sum = 0;
    for (const TokenScore& score : result.scores) sum += score.negative_log_likelihood;
    const double mean = sum / n;
    double squares = 0;
    for (const TokenScore& score : result.scores) {
        squares += (score.negative_log_likelihood - mean) * (score.negative_log_likelihood - mean);
    }
    result.mean_negative_log_likelihood = mean;
    result.perplexity = std::exp(mean);
    // The error of the mean, through the exponential's slope.
    result.standard_error = n > 1 ? std::sqrt(squares / n / (n - 1)) * result.perplexity : 0;
}

}  // namespace

double negative_log_likelihood(std::span<const float> logits, Token token) {
    const float max = *std::ranges::max_element(logits);
    double sum = 0;
    for (const float logit : logits) sum += double(std::exp(logit - max));
    return std::log(sum) - (double(logits[size_t(token)]) - double(max));
}

Perplexity measure_perplexity(const Model& model, std::span<const Token> tokens,
                              const PerplexityOptions& options) {
    const int64_t n_context = options.n_context;
    if (n_context < 4)
        fail("a context of {} tokens is too short to score anything; expected 4 or more", n_context);
    const int64_t n_chunks = int64_t(tokens.size()) / n_context;
    if (n_chunks == 0) {
        fail(
            "the text has {} tokens; perplexity at a context of {} needs at least that many: give a longer "
            "text or "
            "a smaller --context",
            tokens.size(), n_context);
    }
    ForwardPass forward(model, n_context, ForwardPass::kDefaultBatch, options.cache_type);
    Perplexity result;
    for (int64_t chunk = 0; chunk < n_chunks; ++chunk) {
        const int64_t begin = chunk * n_context;
        if (!score_chunk(forward, tokens.subspan(size_t(begin), size_t(n_context)), begin, options,
                         result.scores)) {
            result.cancelled = true;
            break;
        }
        ++result.n_chunks;
        if (options.on_progress) {
            summarize(result);
            options.on_progress(result.n_chunks, n_chunks, result.perplexity);
        }
    }
    summarize(result);
    return result;
}

}  // namespace ingot::runtime

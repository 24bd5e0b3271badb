#pragma once
#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "runtime/forward.h"

namespace ingot::runtime {

/// Tokens whose logits are held at once: 64 MiB for a vocabulary of 128k.
inline constexpr int64_t kScoredBatch = 128;

struct TokenScore {
    int64_t index;  // in the text's tokens
    Token token;
    double negative_log_likelihood;  // nats
};

/// How well a model predicts a text, in llama.cpp's convention, so that numbers compare: the tokens are cut
/// into chunks of the context length (a shorter rest is dropped), the first token of each chunk is replaced
/// by BOS when the model adds one, and of each chunk the predictions in its second half are scored.
struct PerplexityOptions {
    int64_t n_context = 512;   // tokens of a chunk
    std::optional<Token> bos;  // replaces the first token of each chunk
    CacheType cache_type = CacheType::F16;
    const std::atomic<bool>* cancel = nullptr;
    /// Called for every scored token with the logits (n_vocab) that predicted it, in order.
    std::function<void(std::span<const float> logits, const TokenScore& score)> on_score;
    /// Called after each chunk with the number done, of all, and the perplexity so far.
    std::function<void(int64_t n_done, int64_t n_chunks, double perplexity)> on_progress;
};

struct Perplexity {
    double perplexity = 0;                    // exp(mean negative log-likelihood)
    double standard_error = 0;                // of the perplexity
    double mean_negative_log_likelihood = 0;  // nats per token
    int64_t n_chunks = 0;
    bool cancelled = false;
    std::vector<TokenScore> scores;  // of every scored token, in order
};

/// Throws Error when there are fewer tokens than one chunk.
Perplexity measure_perplexity(const Model& model, std::span<const Token> tokens,
                              const PerplexityOptions& options);

/// -log softmax(logits)[token], nats. Stable for logits of any size.
double negative_log_likelihood(std::span<const float> logits, Token token);

}  // namespace ingot::runtime

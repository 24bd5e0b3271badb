#pragma once
// How far a model's predictions move when one of its tensors changes.
#include <atomic>
#include <filesystem>
#include <optional>
#include <span>
#include <vector>

#include "runtime/model.h"

namespace ingot::runtime {

struct DivergenceOptions {
    int64_t n_context = 512;                    // tokens of a chunk; at most what the model was trained for
    int64_t n_tokens = 4096;                    // of the text, from its beginning, are used at most
    std::optional<Token> bos;                   // replaces the first token of each chunk
    const std::atomic<bool>* cancel = nullptr;  // when it becomes true, measure() returns nothing
};

/// Holds what a model predicts for a text, and compares with it. The text is cut into chunks; every token's
/// prediction counts. Memory: a float for each word of the vocabulary and each token, kMaxBytes at most (of
/// long texts the beginning is used). Not thread-safe; `backend` must outlive it.
class DivergenceMeter {
  public:
    static constexpr int64_t kMaxBytes = 512 << 20;

    /// Runs the model. Throws Error when the text has fewer than 16 tokens.
    DivergenceMeter(const std::filesystem::path& path, Backend& backend, std::span<const Token> tokens,
                    const DivergenceOptions& options);

    /// Mean Kullback-Leibler divergence of the changed model's predictions from the model's, in nats per
    /// token. Nothing when cancelled. Throws Error when the replacement does not fit the model.
    std::optional<double> measure(const Replacement& replacement);

    int64_t n_tokens() const { return int64_t(tokens_.size()); }

  private:
    template <typename Use>
    bool predict(const Model& model, const Use& use) const;

    std::filesystem::path path_;
    Backend& backend_;
    DivergenceOptions options_;
    std::vector<Token> tokens_;
    std::vector<float> expected_;  // (n_tokens, n_vocab) logarithms of probabilities
};

}  // namespace ingot::runtime

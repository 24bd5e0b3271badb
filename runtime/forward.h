#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "runtime/kv_cache.h"
#include "runtime/layers/pass.h"
#include "runtime/model.h"

namespace ingot::runtime {

/// The forward pass over one sequence: owns its KV cache and the activations. Not thread-safe.
class ForwardPass {
  public:
    static constexpr int64_t kDefaultBatch = 512;  // tokens

    /// `n_context` positions at most (0: the model's own); prompts are cut into batches of `n_batch` tokens.
    ForwardPass(const Model& model, int64_t n_context, int64_t n_batch = kDefaultBatch,
                CacheType cache_type = CacheType::F16);

    const Model& model() const { return model_; }
    KvCache& cache() { return cache_; }
    int64_t n_context() const { return cache_.n_context(); }

    /// Appends `tokens` to the sequence and computes logits after the last `n_logits` of them (0: only fills
    /// the cache). Returns false, with the sequence as it was, when `cancel` became true meanwhile.
    /// Throws Error when a token is outside the vocabulary or the context is full.
    bool run(std::span<const Token> tokens, int64_t n_logits, const std::atomic<bool>* cancel = nullptr);
    /// (n_logits, n_vocab) of the last run().
    std::span<const float> logits() const { return logits_; }

    /// A sequence's way through some of the layers, from an empty cache: `stream` (n_tokens, n_embd) is what
    /// layer `first` sees and becomes what layer `last` would see; before layer 0 it is not looked at. Layer
    /// n_layers is the output matrix, which changes nothing. At most n_batch tokens; the cache stays empty.
    void run_layers(std::span<const Token> tokens, int64_t first, int64_t last, std::span<float> stream);

  private:
    void check(std::span<const Token> tokens) const;
    bool run_batch(std::span<const Token> tokens, int64_t n_logits, const std::atomic<bool>* cancel);
    void embed(const Pass& pass, std::span<const Token> tokens);
    void run_layer(const Pass& pass, int64_t layer, int64_t n_rows);
    void keep_last_rows(int64_t n_tokens, int64_t n_rows);
    void output_part(const Pass& pass, int64_t n_rows);

    const Model& model_;
    Backend& backend_;
    KvCache cache_;
    int64_t n_batch_;  // tokens
    Workspace space_;

    // Activations of one batch, (n_batch, n_embd) floats.
    std::unique_ptr<Buffer> x_;       // the residual stream
    std::unique_ptr<Buffer> normed_;  // what the mixer sees
    std::unique_ptr<Buffer> mixed_;   // what the mixer says
    std::unique_ptr<Buffer> fed_;     // what the feed-forward part says
    std::unique_ptr<Buffer> spare_;
    std::unique_ptr<Buffer> device_logits_;  // (rows, n_vocab), grown on demand
    std::vector<float> logits_;              // (n_logits, n_vocab)
};

}  // namespace ingot::runtime

#pragma once
#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "runtime/kv_cache.h"
#include "runtime/layers/pass.h"
#include "runtime/logits.h"
#include "runtime/model.h"

namespace ingot::runtime {

/// Tokens that are to be appended to one sequence.
struct Segment {
    int64_t sequence = 0;
    std::span<const Token> tokens;
    int64_t n_logits = 0;  // logits are wanted after the last so many of them
};

/// The forward pass over one sequence or several: owns their KV caches and the activations. Not thread-safe.
class ForwardPass {
  public:
    static constexpr int64_t kDefaultBatch = 512;  // tokens

    /// `n_context` positions at most (0: the model's own); prompts are cut into batches of `n_batch` tokens.
    ForwardPass(const Model& model, int64_t n_context, int64_t n_batch = kDefaultBatch,
                CacheType cache_type = CacheType::F16, int64_t n_sequences = 1);

    const Model& model() const { return model_; }
    KvCache& cache(int64_t sequence = 0) { return caches_[size_t(sequence)]; }
    int64_t n_sequences() const { return int64_t(caches_.size()); }
    int64_t n_context() const { return caches_.front().n_context(); }  // positions of each sequence

    /// Appends `tokens` to the sequence and computes logits after the last `n_logits` of them (0: only fills
    /// the cache). Returns false, with the sequence as it was, when `cancel` became true meanwhile.
    /// Throws Error when a token is outside the vocabulary or the context is full.
    bool run(std::span<const Token> tokens, int64_t n_logits, const std::atomic<bool>* cancel = nullptr) {
        const Segment whole{0, tokens, n_logits};
        return run({&whole, 1}, cancel);
    }
    /// The same of several sequences at once: every matrix is read once for all of their tokens. A sequence
    /// has one segment at most.
    bool run(std::span<const Segment> segments, const std::atomic<bool>* cancel = nullptr);
    /// (n_logits, n_vocab) of the last run(); those of several segments behind each other, in their order.
    std::span<const float> logits();
    /// As if run() had computed them: they were saved with the sequence.
    void restore_logits(std::span<const float> logits);
    /// From now on run() brings only the k largest logits after a token from the device, which is less to
    /// wait for; logits() brings all when it is asked. 0: all.
    void keep_largest(int64_t k);
    /// Row `row` of logits(), or the largest of it.
    Logits logits_of(int64_t row);

    /// A sequence's way through some of the layers, from an empty cache: `stream` (n_tokens, n_embd) is what
    /// layer `first` sees and becomes what layer `last` would see; before layer 0 it is not looked at. Layer
    /// n_layers is the output matrix, which changes nothing. At most n_batch tokens; the cache stays empty.
    void run_layers(std::span<const Token> tokens, int64_t first, int64_t last, std::span<float> stream);

  private:
    struct Batch;

    void check(std::span<const Segment> segments);
    void check(std::span<const Token> tokens) const;
    bool run_batch(const Batch& batch, const std::atomic<bool>* cancel);
    void embed(const Pass& pass, std::span<const Token> tokens);
    void run_layer(const Pass& pass, int64_t layer, std::span<const int32_t> rows);
    void keep_rows(std::span<const int32_t> rows);
    void output_part(const Pass& pass, int64_t n_rows);
    void append_logits(int64_t n_rows);

    const Model& model_;
    Backend& backend_;
    std::vector<KvCache> caches_;  // of each sequence
    int64_t n_batch_;              // tokens
    Workspace space_;

    // Activations of one batch, (n_batch, n_embd) floats.
    std::unique_ptr<Buffer> x_;       // the residual stream
    std::unique_ptr<Buffer> normed_;  // what the mixer sees
    std::unique_ptr<Buffer> mixed_;   // what the mixer says
    std::unique_ptr<Buffer> fed_;     // what the feed-forward part says
    std::unique_ptr<Buffer> spare_;
    std::unique_ptr<Buffer> device_logits_;  // (rows, n_vocab), grown on demand
    std::vector<float> logits_;              // (n_logits, n_vocab) …
    int64_t n_on_device_ = 0;                // … or so many rows are still there,
    std::vector<TokenLogit> largest_;        // and the n_largest_ of each here
    int64_t n_largest_ = 0;
    int64_t n_wanted_ = 0;  // rows, of the run
};

}  // namespace ingot::runtime

#pragma once
#include <atomic>
#include <span>
#include <vector>

#include "runtime/forward.h"
#include "runtime/observed_backend.h"

namespace ingot::runtime {

/// Takes chunks of a text through a model one layer at a time: all of them through a layer before any goes
/// through the next. So a layer's inputs can be looked at, its matrices replaced (ObservedBackend::replace),
/// and the next layer sees what the new ones make of the text. Not thread-safe.
/// Memory: two residual streams, n_tokens * n_embd floats each, and one chunk's activations.
class LayerStream {
  public:
    /// `model` was loaded on `backend`; both must outlive this. The tokens are cut into chunks of
    /// `n_context`, each of which begins with `bos` where there is one; a shorter rest is left out. Throws
    /// Error when that leaves nothing.
    LayerStream(const Model& model, ObservedBackend& backend, std::span<const Token> tokens,
                int64_t n_context, std::optional<Token> bos);

    /// The layers, and as the last step the output matrix.
    int64_t n_steps() const { return model_.hyperparameters().n_layers + 1; }
    int64_t n_chunks() const { return int64_t(tokens_.size()) / n_context_; }
    /// Whether steps look at what earlier ones do to the text anew (they share keys): replaced matrices must
    /// then stay replaced to the end.
    bool restarts() const { return restarts_; }
    uint64_t stream_bytes() const { return stream_.size() * sizeof(float); }

    /// Shows what the matrices of the next step are multiplied by, chunk after chunk: first to `original` as
    /// it were if nothing had been replaced, then to `current` as it is. Returns false when `cancel` became
    /// true.
    bool show(ProductObserver& original, ProductObserver& current, const std::atomic<bool>* cancel);
    /// Takes the next step. Returns false, being of no use any more, when `cancel` became true.
    bool advance(const std::atomic<bool>* cancel);

  private:
    std::span<const Token> chunk_tokens(int64_t chunk) const {
        return std::span(tokens_).subspan(size_t(chunk * n_context_), size_t(n_context_));
    }
    std::span<float> chunk_of(std::vector<float>& stream, int64_t chunk) {
        return std::span(stream).subspan(size_t(chunk) * chunk_.size(), chunk_.size());
    }
    void show_chunk(int64_t chunk, std::vector<float>& stream, ProductObserver& observer);

    const Model& model_;
    ObservedBackend& backend_;
    int64_t n_context_;
    bool restarts_;  // layers look at keys of earlier ones: each chunk starts at layer 0 every time
    std::vector<Token> tokens_;    // (n_chunks, n_context)
    std::vector<float> original_;  // (n_chunks, n_context, n_embd): what the next step would see …
    std::vector<float> stream_;    // … and what it sees
    std::vector<float> chunk_;     // (n_context, n_embd)
    int64_t step_ = 0;
    ForwardPass forward_;
};

}  // namespace ingot::runtime

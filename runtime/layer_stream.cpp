#include "runtime/layer_stream.h"

#include <algorithm>

#include "format/error.h"

namespace ingot::runtime {
namespace {

bool shares_keys(const Hyperparameters& model) {
    for (size_t i = 0; i < model.layers.size(); ++i)
        if (model.layers[i].kv_layer != int64_t(i)) return true;
    return false;
}

std::vector<Token> whole_chunks(std::span<const Token> tokens, int64_t n_context, std::optional<Token> bos) {
    if (n_context < 1) fail("chunks of {} tokens were asked for; expected 1 or more", n_context);
    const int64_t n_chunks = int64_t(tokens.size()) / n_context;
    if (n_chunks == 0)
        fail("the text has {} tokens, less than one chunk of {}: give a longer text or a smaller context",
             tokens.size(), n_context);
    std::vector<Token> chunks(tokens.begin(), tokens.begin() + n_chunks * n_context);
    for (int64_t i = 0; bos && i < n_chunks; ++i) chunks[size_t(i * n_context)] = *bos;
    return chunks;
}

}  // namespace

LayerStream::LayerStream(const Model& model, ObservedBackend& backend, std::span<const Token> tokens,
                         int64_t n_context, std::optional<Token> bos)
    : model_(model),
      backend_(backend),
      n_context_(n_context),
      restarts_(shares_keys(model.hyperparameters())),
      tokens_(whole_chunks(tokens, n_context, bos)),
      original_(restarts_ ? 0 : tokens_.size() * size_t(model.hyperparameters().n_embd)),
      stream_(original_.size()),
      chunk_(size_t(n_context * model.hyperparameters().n_embd)),
      forward_(model, n_context, n_context, CacheType::F32) {}

void LayerStream::show_chunk(int64_t chunk, std::vector<float>& stream, ProductObserver& observer) {
    const std::span<const Token> tokens = chunk_tokens(chunk);
    if (restarts_) {
        forward_.run_layers(tokens, 0, step_, chunk_);  // leaves the keys that the step looks at
    } else {
        std::ranges::copy(chunk_of(stream, chunk), chunk_.begin());
    }
    backend_.observe(model_, &observer);
    forward_.run_layers(tokens, step_, step_ + 1, chunk_);
    backend_.observe(model_, nullptr);
}

bool LayerStream::show(ProductObserver& original, ProductObserver& current, const std::atomic<bool>* cancel) {
    for (int64_t chunk = 0; chunk < n_chunks(); ++chunk) {
        if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
        backend_.use_replaced(false);
        show_chunk(chunk, original_, original);
        backend_.use_replaced(true);
        show_chunk(chunk, stream_, current);
    }
    return true;
}

bool LayerStream::advance(const std::atomic<bool>* cancel) {
    const bool keeps_streams = !restarts_ && step_ < model_.hyperparameters().n_layers;
    for (int64_t chunk = 0; keeps_streams && chunk < n_chunks(); ++chunk) {
        if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
        backend_.use_replaced(false);
        forward_.run_layers(chunk_tokens(chunk), step_, step_ + 1, chunk_of(original_, chunk));
        backend_.use_replaced(true);
        forward_.run_layers(chunk_tokens(chunk), step_, step_ + 1, chunk_of(stream_, chunk));
    }
    ++step_;
    return true;
}

}  // namespace ingot::runtime

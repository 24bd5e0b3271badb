#include "runtime/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "format/error.h"

namespace ingot::runtime {
namespace {

int64_t checked_context(const Model& model, int64_t n_context) {
    if (n_context == 0) return model.hyperparameters().n_context;
    if (n_context < 0 || n_context > INT32_MAX) {
        fail("a context of {} tokens was asked for; expected 1 to {}", n_context, INT32_MAX);
    }
    const int64_t trained = model.hyperparameters().n_context;
    if (model.weights().positions && n_context > trained) {
        fail("a context of {} tokens was asked for, but the model has learned {} positions, and no others",
             n_context, trained);
    }
    return n_context;
}

}  // namespace

ForwardPass::ForwardPass(const Model& model, int64_t n_context, int64_t n_batch, CacheType cache_type)
    : model_(model),
      backend_(model.backend()),
      cache_(backend_, model.hyperparameters(), checked_context(model, n_context), cache_type),
      n_batch_(std::clamp<int64_t>(n_batch, 1, cache_.n_context())),
      space_(backend_, model.hyperparameters(), n_batch_) {
    const size_t size_bytes = size_t(n_batch_) * size_t(model.hyperparameters().n_embd) * sizeof(float);
    for (auto* buffer : {&x_, &normed_, &mixed_, &fed_, &spare_}) *buffer = backend_.allocate(size_bytes);
}

bool ForwardPass::run(std::span<const Token> tokens, int64_t n_logits, const std::atomic<bool>* cancel) {
    const int64_t n_tokens = int64_t(tokens.size());
    const int64_t n_before = cache_.n_used();
    const int64_t n_vocab = model_.hyperparameters().n_vocab;
    if (n_logits < 0 || n_logits > n_tokens) {
        fail("logits of {} tokens were asked for, of a run of {}", n_logits, n_tokens);
    }
    if (n_tokens > cache_.n_context() - n_before) {
        fail("{} tokens do not fit: {} of {} positions of the context are used; raise --context", n_tokens,
             n_before, cache_.n_context());
    }
    check(tokens);

    if (cancel != nullptr && n_tokens > n_batch_) cache_.keep_states();
    logits_.clear();
    logits_.reserve(size_t(n_logits) * size_t(n_vocab));
    for (int64_t begin = 0; begin < n_tokens; begin += n_batch_) {
        const int64_t end = std::min(begin + n_batch_, n_tokens);
        const int64_t n_batch_logits = std::clamp<int64_t>(end - (n_tokens - n_logits), 0, end - begin);
        if (!run_batch(tokens.subspan(size_t(begin), size_t(end - begin)), n_batch_logits, cancel)) {
            if (cache_.n_used() != n_before) cache_.truncate(n_before);
            logits_.clear();
            return false;
        }
    }
    return true;
}

void ForwardPass::check(std::span<const Token> tokens) const {
    const int64_t n_vocab = model_.hyperparameters().n_vocab;
    for (const Token token : tokens) {
        if (token < 0 || token >= n_vocab)
            fail("token {} is outside the vocabulary (0 to {})", token, n_vocab - 1);
    }
}

void ForwardPass::run_layers(std::span<const Token> tokens, int64_t first, int64_t last,
                             std::span<float> stream) {
    const Hyperparameters& h = model_.hyperparameters();
    const int64_t n_tokens = int64_t(tokens.size());
    if (n_tokens > n_batch_) fail("{} tokens do not fit into a batch of {}", n_tokens, n_batch_);
    check(tokens);
    std::vector<int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), 0);
    const Pass pass{backend_, h, model_.weights(), cache_, space_, positions};

    cache_.truncate(0);
    if (first == 0 || h.n_layer_embd != 0) embed(pass, tokens);  // layers may have embeddings of their own
    if (first != 0) backend_.upload(std::as_bytes(stream), *x_);
    for (int64_t layer = first; layer < std::min(last, h.n_layers); ++layer) run_layer(pass, layer, n_tokens);
    backend_.download(*x_, std::as_writable_bytes(stream));
    if (last > h.n_layers) output_part(pass, n_tokens);
    logits_.clear();
}

bool ForwardPass::run_batch(std::span<const Token> tokens, int64_t n_logits,
                            const std::atomic<bool>* cancel) {
    const Hyperparameters& h = model_.hyperparameters();
    const int64_t n_tokens = int64_t(tokens.size());
    std::vector<int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), int32_t(cache_.n_used()));
    const Pass pass{backend_, h, model_.weights(), cache_, space_, positions};

    embed(pass, tokens);
    for (int64_t layer = 0; layer < h.n_layers; ++layer) {
        // A state that some layers have updated is of no use: recurrent models stop between batches only.
        const bool may_stop = layer == 0 || !h.has_recurrent_layers();
        if (may_stop && cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
        // Nothing after the last mixer looks at other tokens: those go on whose logits are wanted.
        run_layer(pass, layer, layer + 1 == h.n_layers ? n_logits : n_tokens);
    }
    if (n_logits > 0) output_part(pass, n_logits);
    cache_.advance(n_tokens);
    return true;
}

// x = embedding(tokens), scaled, with positions, normed
void ForwardPass::embed(const Pass& pass, std::span<const Token> tokens) {
    const Hyperparameters& h = pass.model;
    const int64_t n = pass.n_tokens() * h.n_embd;
    backend_.embed_rows(*pass.weights.token_embedding, tokens, *x_);
    if (h.embedding_scale != 1) backend_.map(Elementwise::Scale, h.embedding_scale, n, *x_);
    if (pass.weights.positions) {
        backend_.embed_rows(*pass.weights.positions, pass.positions, *spare_);
        backend_.add(*spare_, n, *x_);
    }
    if (pass.weights.embedding_norm) norm_rows(pass, pass.weights.embedding_norm, *x_, pass.n_tokens(), *x_);
    if (h.n_layer_embd != 0) embed_for_layers(pass, tokens, *x_);
}

// sequential: x += mixer(norm(x)), then x += feed_forward(norm(x))
// parallel:   x += mixer(norm(x)) + feed_forward(norm(x))
// The feed-forward part only of the last n_rows tokens.
void ForwardPass::run_layer(const Pass& pass, int64_t layer, int64_t n_rows) {
    const Hyperparameters& h = pass.model;
    const LayerWeights& w = pass.weights.layers[size_t(layer)];
    const int64_t n_tokens = pass.n_tokens();
    const bool parallel = h.parallel_residual ||
                          (h.family->residual == Residual::ParallelWithoutFfnNorm && !w.feed_forward_norm);

    if (w.mixer_norm) norm_rows(pass, w.mixer_norm, *x_, n_tokens, *normed_);
    const Buffer& mixer_input = w.mixer_norm ? *normed_ : *x_;
    switch (h.layers[size_t(layer)].mixer) {
        case Mixer::Attention:
            attention(pass, layer, mixer_input, *mixed_);
            break;
        case Mixer::LatentAttention:
            latent_attention(pass, layer, mixer_input, *mixed_);
            break;
        case Mixer::DeltaNet:
            delta_net(pass, layer, mixer_input, *mixed_);
            break;
    }
    if (w.mixer_post_norm) norm_rows(pass, w.mixer_post_norm, *mixed_, n_tokens, *mixed_);
    if (n_rows == 0) return;
    if (n_rows < n_tokens) keep_last_rows(n_tokens, n_rows);

    const int64_t n = n_rows * h.n_embd;
    if (h.residual_scale != 1) backend_.map(Elementwise::Scale, h.residual_scale, n, *mixed_);
    if (!parallel) backend_.add(*mixed_, n, *x_);

    if (w.beside.router_norm) {
        experts_beside_dense(pass, layer, n_rows, *x_, *fed_);
    } else {
        if (w.feed_forward_norm) norm_rows(pass, w.feed_forward_norm, *x_, n_rows, *normed_);
        const bool sees_norm = w.feed_forward_norm || parallel;  // its own, or the mixer's
        const Buffer& input = sees_norm ? *normed_ : *x_;
        if (h.layers[size_t(layer)].has_experts) {
            experts(pass, layer, n_rows, input, input, *fed_);
        } else {
            feed_forward(pass, w.feed_forward, h.layers[size_t(layer)].n_ff, n_rows, input, *fed_);
        }
    }
    if (w.feed_forward_post_norm) norm_rows(pass, w.feed_forward_post_norm, *fed_, n_rows, *fed_);
    if (h.residual_scale != 1) backend_.map(Elementwise::Scale, h.residual_scale, n, *fed_);
    if (parallel) backend_.add(*mixed_, n, *x_);
    backend_.add(*fed_, n, *x_);
    if (h.n_layer_embd != 0) add_layer_embeddings(pass, layer, n_rows, *x_);
    if (w.output_scale != 1) backend_.map(Elementwise::Scale, w.output_scale, n, *x_);
}

void ForwardPass::keep_last_rows(int64_t n_tokens, int64_t n_rows) {
    std::vector<int32_t> rows(static_cast<size_t>(n_rows));
    std::iota(rows.begin(), rows.end(), int32_t(n_tokens - n_rows));
    for (auto* buffer : {&x_, &normed_, &mixed_}) {
        backend_.copy_rows(**buffer, rows, model_.hyperparameters().n_embd, *spare_);
        std::swap(*buffer, spare_);
    }
}

// logits = output(norm(x)), appended to those of earlier batches
void ForwardPass::output_part(const Pass& pass, int64_t n_rows) {
    const Hyperparameters& h = pass.model;
    const size_t n_values = size_t(n_rows) * size_t(h.n_vocab);
    const size_t size_bytes = n_values * sizeof(float);
    if (!device_logits_ || device_logits_->size_bytes() < size_bytes)
        device_logits_ = backend_.allocate(size_bytes);

    norm_rows(pass, pass.weights.output_norm, *x_, n_rows, *normed_);
    const Projection output[] = {
        {&pass.weights.output_matrix(), pass.weights.output.bias.get(), device_logits_.get()}};
    backend_.matmul(*normed_, n_rows, output);
    const int64_t n = int64_t(n_values);
    if (h.logit_scale != 1) backend_.map(Elementwise::Scale, h.logit_scale, n, *device_logits_);
    if (h.final_soft_cap > 0) backend_.map(Elementwise::SoftCap, h.final_soft_cap, n, *device_logits_);
    const size_t n_before = logits_.size();
    logits_.resize(n_before + n_values);
    backend_.download(*device_logits_, std::as_writable_bytes(std::span(logits_).subspan(n_before)));
}

}  // namespace ingot::runtime

#include "runtime/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

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

std::vector<KvCache> make_caches(const Model& model, int64_t n_context, CacheType type, int64_t n_sequences) {
    if (n_sequences < 1) fail("{} sequences were asked for; expected 1 or more", n_sequences);
    std::vector<KvCache> caches;
    for (int64_t i = 0; i < n_sequences; ++i)
        caches.emplace_back(model.backend(), model.hyperparameters(), n_context, type);
    return caches;
}

}  // namespace

/// Tokens that go through the layers together.
struct ForwardPass::Batch {
    std::vector<Token> tokens;
    std::vector<int32_t> positions;
    std::vector<SequencePart> parts;
    std::vector<int32_t> rows;  // whose logits are wanted

    void append(KvCache& cache, std::span<const Token> more, int64_t n_logits) {
        const int64_t first = int64_t(tokens.size()), n = int64_t(more.size());
        parts.push_back({&cache, first, n});
        tokens.insert(tokens.end(), more.begin(), more.end());
        for (int64_t i = 0; i < n; ++i) positions.push_back(int32_t(cache.n_used() + i));
        for (int64_t i = n - n_logits; i < n; ++i) rows.push_back(int32_t(first + i));
    }
};

ForwardPass::ForwardPass(const Model& model, int64_t n_context, int64_t n_batch, CacheType cache_type,
                         int64_t n_sequences)
    : model_(model),
      backend_(model.backend()),
      caches_(make_caches(model, checked_context(model, n_context), cache_type, n_sequences)),
      n_batch_(std::clamp<int64_t>(n_batch, 1, this->n_context() * n_sequences)),
      space_(backend_, model.hyperparameters(), n_batch_) {
    const size_t size_bytes = size_t(n_batch_) * size_t(model.hyperparameters().n_embd) * sizeof(float);
    for (auto* buffer : {&x_, &normed_, &mixed_, &fed_, &spare_}) *buffer = backend_.allocate(size_bytes);
}

void ForwardPass::check(std::span<const Segment> segments) {
    std::vector<bool> seen(caches_.size());
    for (const Segment& segment : segments) {
        const int64_t n_tokens = int64_t(segment.tokens.size());
        if (segment.sequence < 0 || segment.sequence >= n_sequences() || seen[size_t(segment.sequence)]) {
            fail("sequence {} of {} was asked for, or asked for twice", segment.sequence, n_sequences());
        }
        seen[size_t(segment.sequence)] = true;
        if (segment.n_logits < 0 || segment.n_logits > n_tokens) {
            fail("logits of {} tokens were asked for, of a run of {}", segment.n_logits, n_tokens);
        }
        const int64_t n_used = cache(segment.sequence).n_used();
        if (n_tokens > n_context() - n_used) {
            fail("{} tokens do not fit: {} of {} positions of the context are used; raise --context",
                 n_tokens, n_used, n_context());
        }
        check(segment.tokens);
    }
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
    cache().truncate(0);
    Batch batch;
    batch.append(cache(), tokens, n_tokens);
    const Pass pass{backend_, h, model_.weights(), space_, batch.parts, batch.positions, n_context()};

    for (const int64_t part : {Model::kBeginning, Model::kEnd}) model_.wait_for(part);
    if (first == 0 || h.n_layer_embd != 0) embed(pass, tokens);  // layers may have embeddings of their own
    if (first != 0) backend_.upload(std::as_bytes(stream), *x_);
    for (int64_t layer = first; layer < std::min(last, h.n_layers); ++layer) {
        model_.wait_for(layer);
        run_layer(pass, layer, batch.rows);
    }
    backend_.download(*x_, std::as_writable_bytes(stream));
    if (last > h.n_layers) output_part(pass, n_tokens);
    restore_logits({});
}

bool ForwardPass::run(std::span<const Segment> segments, const std::atomic<bool>* cancel) {
    check(segments);
    int64_t n_tokens = 0, n_logits = 0;
    std::vector<int64_t> n_before;  // positions in use, of each segment's sequence
    for (const Segment& segment : segments) {
        n_tokens += int64_t(segment.tokens.size());
        n_logits += segment.n_logits;
        n_before.push_back(cache(segment.sequence).n_used());
    }
    const bool may_go_back = cancel != nullptr && n_tokens > n_batch_;
    for (const Segment& segment : segments) {
        if (may_go_back) cache(segment.sequence).keep_states();
    }
    restore_logits({});
    n_wanted_ = n_logits;

    Batch batch;
    const auto finish_batch = [&] {
        const bool done = batch.tokens.empty() || run_batch(batch, cancel);
        batch = {};
        return done;
    };
    const auto go_back = [&] {
        for (size_t i = 0; i < segments.size(); ++i) {
            KvCache& used = cache(segments[i].sequence);
            if (used.n_used() != n_before[i]) used.truncate(n_before[i]);
        }
        restore_logits({});
        return false;
    };
    for (const Segment& segment : segments) {
        const int64_t n = int64_t(segment.tokens.size());
        for (int64_t begin = 0; begin < n;) {
            const int64_t end = std::min(n, begin + n_batch_ - int64_t(batch.tokens.size()));
            const int64_t n_batch_logits = std::clamp<int64_t>(end - (n - segment.n_logits), 0, end - begin);
            batch.append(cache(segment.sequence), segment.tokens.subspan(size_t(begin), size_t(end - begin)),
                         n_batch_logits);
            begin = end;
            if (int64_t(batch.tokens.size()) == n_batch_ && !finish_batch()) return go_back();
        }
    }
    return finish_batch() || go_back();
}

bool ForwardPass::run_batch(const Batch& batch, const std::atomic<bool>* cancel) {
    const Hyperparameters& h = model_.hyperparameters();
    const Pass pass{backend_, h, model_.weights(), space_, batch.parts, batch.positions, n_context()};
    std::vector<int32_t> all_rows(batch.tokens.size());
    std::iota(all_rows.begin(), all_rows.end(), 0);

    model_.wait_for(Model::kBeginning);
    embed(pass, batch.tokens);
    for (int64_t layer = 0; layer < h.n_layers; ++layer) {
        // A state that some layers have updated is of no use: recurrent models stop between batches only.
        const bool may_stop = layer == 0 || !h.has_recurrent_layers();
        if (may_stop && cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
        // Nothing after the last mixer looks at other tokens: those go on whose logits are wanted.
        model_.wait_for(layer);
        run_layer(pass, layer, layer + 1 == h.n_layers ? batch.rows : all_rows);
    }
    model_.wait_for(Model::kEnd);
    if (!batch.rows.empty()) output_part(pass, int64_t(batch.rows.size()));
    for (const SequencePart& part : batch.parts) part.cache->advance(part.n_tokens);
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
// The feed-forward part only of the tokens in `rows`.
void ForwardPass::run_layer(const Pass& pass, int64_t layer, std::span<const int32_t> rows) {
    const Hyperparameters& h = pass.model;
    const LayerWeights& w = pass.weights.layers[size_t(layer)];
    const int64_t n_tokens = pass.n_tokens(), n_rows = int64_t(rows.size());
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
    if (n_rows < n_tokens) keep_rows(rows);

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

void ForwardPass::keep_rows(std::span<const int32_t> rows) {
    const Hyperparameters& h = model_.hyperparameters();
    for (auto* buffer : {&x_, &normed_, &mixed_}) {
        backend_.copy_rows(**buffer, rows, h.n_embd, *spare_);
        std::swap(*buffer, spare_);
    }
    if (h.n_layer_embd == 0) return;
    backend_.copy_rows(*space_.layer_embeddings, rows, h.n_layers * h.n_layer_embd, *space_.layer_projection);
    std::swap(space_.layer_embeddings, space_.layer_projection);
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
    if (n_largest_ > 0 && n_rows == n_wanted_) {  // those of several batches are here, all of them
        largest_.resize(size_t(n_rows * n_largest_));
        backend_.largest(*device_logits_, n_rows, h.n_vocab, n_largest_, largest_);
        n_on_device_ = n_rows;
    } else {
        append_logits(n_rows);
    }
}

void ForwardPass::append_logits(int64_t n_rows) {
    const size_t n_before = logits_.size();
    logits_.resize(n_before + size_t(n_rows) * size_t(model_.hyperparameters().n_vocab));
    backend_.download(*device_logits_, std::as_writable_bytes(std::span(logits_).subspan(n_before)));
}

std::span<const float> ForwardPass::logits() {
    if (n_on_device_ > 0) append_logits(std::exchange(n_on_device_, 0));
    return logits_;
}

void ForwardPass::restore_logits(std::span<const float> logits) {
    logits_.assign(logits.begin(), logits.end());
    largest_.clear();
    n_on_device_ = 0;
}

void ForwardPass::keep_largest(int64_t k) {
    if (k >= model_.hyperparameters().n_vocab) k = 0;
    if (k != n_largest_) largest_.clear();  // logits() has them
    n_largest_ = k;
}

Logits ForwardPass::logits_of(int64_t row) {
    if (!largest_.empty())
        return {{}, std::span(largest_).subspan(size_t(row * n_largest_), size_t(n_largest_))};
    const size_t n_vocab = size_t(model_.hyperparameters().n_vocab);
    return {logits().subspan(size_t(row) * n_vocab, n_vocab)};
}

}  // namespace ingot::runtime

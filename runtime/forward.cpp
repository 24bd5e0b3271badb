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
    return n_context;
}

}  // namespace

ForwardPass::ForwardPass(const Model& model, int64_t n_context, int64_t n_batch)
    : model_(model),
      backend_(model.backend()),
      cache_(backend_, model.hyperparameters(), checked_context(model, n_context)),
      n_batch_(std::clamp<int64_t>(n_batch, 1, cache_.n_context())) {
    const Hyperparameters& h = model.hyperparameters();
    const auto floats = [&](int64_t width) {
        return backend_.allocate(size_t(n_batch_) * size_t(width) * sizeof(float));
    };
    x_ = floats(h.n_embd);
    x_last_ = floats(h.n_embd);
    normed_ = floats(h.n_embd);
    projected_ = floats(h.n_embd);
    q_ = floats(h.q_width());
    k_ = floats(h.kv_width());
    v_ = floats(h.kv_width());
    attended_ = floats(h.q_width());
    gate_ = floats(h.n_ff);
    up_ = floats(h.n_ff);
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
    for (const Token token : tokens) {
        if (token < 0 || token >= n_vocab)
            fail("token {} is outside the vocabulary (0 to {})", token, n_vocab - 1);
    }

    logits_.clear();
    logits_.reserve(size_t(n_logits) * size_t(n_vocab));
    for (int64_t begin = 0; begin < n_tokens; begin += n_batch_) {
        const int64_t end = std::min(begin + n_batch_, n_tokens);
        const int64_t n_batch_logits = std::clamp<int64_t>(end - (n_tokens - n_logits), 0, end - begin);
        if (!run_batch(tokens.subspan(size_t(begin), size_t(end - begin)), n_batch_logits, cancel)) {
            cache_.truncate(n_before);
            logits_.clear();
            return false;
        }
    }
    return true;
}

bool ForwardPass::run_batch(std::span<const Token> tokens, int64_t n_logits,
                            const std::atomic<bool>* cancel) {
    const Hyperparameters& h = model_.hyperparameters();
    const int64_t n_tokens = int64_t(tokens.size());
    std::vector<int32_t> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), int32_t(cache_.n_used()));

    backend_.embed_rows(*model_.weights().token_embedding, tokens, *x_);
    for (int64_t layer = 0; layer < h.n_layers; ++layer) {
        if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
        attention_part(layer, positions);
        if (layer + 1 == h.n_layers && n_logits < n_tokens) {
            // Nothing after this point looks at other tokens: go on with those whose logits are wanted.
            if (n_logits == 0) break;
            std::vector<int32_t> rows(static_cast<size_t>(n_logits));
            std::iota(rows.begin(), rows.end(), int32_t(n_tokens - n_logits));
            backend_.copy_rows(*x_, rows, h.n_embd, *x_last_);
            std::swap(x_, x_last_);
            feed_forward_part(layer, n_logits);
        } else {
            feed_forward_part(layer, n_tokens);
        }
    }
    if (n_logits > 0) output_part(n_logits);
    cache_.advance(n_tokens);
    return true;
}

// x += attention(norm(x))
void ForwardPass::attention_part(int64_t layer, std::span<const int32_t> positions) {
    const Hyperparameters& h = model_.hyperparameters();
    const LayerWeights& w = model_.weights().layers[size_t(layer)];
    const int64_t n_tokens = int64_t(positions.size());
    const KvLayer kv = cache_.layer(layer);

    backend_.rms_norm(*x_, *w.attention_norm, h.norm_epsilon, n_tokens, h.n_embd, *normed_);
    const Projection qkv[] = {{w.q.get(), w.q_bias.get(), q_.get()},
                              {w.k.get(), w.k_bias.get(), k_.get()},
                              {w.v.get(), w.v_bias.get(), v_.get()}};
    backend_.matmul(*normed_, n_tokens, qkv);

    const Rope rope{h.family->rope_pairing, h.n_rot, model_.weights().rope_frequencies.get(),
                    model_.weights().rope_magnitude};
    backend_.rope(rope, positions, h.n_heads, h.head_dim, *q_);
    backend_.rope(rope, positions, h.n_kv_heads, h.head_dim, *k_);
    backend_.write_kv(*k_, *v_, positions, h.kv_width(), kv);

    const HeadGeometry heads{h.n_heads, h.n_kv_heads, h.head_dim, h.window,
                             1.0f / std::sqrt(float(h.head_dim))};
    backend_.attention(*q_, kv, positions, heads, *attended_);

    const Projection output[] = {{w.attention_output.get(), w.attention_output_bias.get(), projected_.get()}};
    backend_.matmul(*attended_, n_tokens, output);
    backend_.add(*projected_, n_tokens * h.n_embd, *x_);
}

// x += down(silu(gate(norm(x))) * up(norm(x)))
void ForwardPass::feed_forward_part(int64_t layer, int64_t n_tokens) {
    const Hyperparameters& h = model_.hyperparameters();
    const LayerWeights& w = model_.weights().layers[size_t(layer)];

    backend_.rms_norm(*x_, *w.ffn_norm, h.norm_epsilon, n_tokens, h.n_embd, *normed_);
    const Projection gate_up[] = {{w.gate.get(), w.gate_bias.get(), gate_.get()},
                                  {w.up.get(), w.up_bias.get(), up_.get()}};
    backend_.matmul(*normed_, n_tokens, gate_up);
    backend_.silu_multiply(*gate_, *up_, n_tokens * h.n_ff, *gate_);

    const Projection down[] = {{w.down.get(), w.down_bias.get(), projected_.get()}};
    backend_.matmul(*gate_, n_tokens, down);
    backend_.add(*projected_, n_tokens * h.n_embd, *x_);
}

// logits = output(norm(x)), appended to those of earlier batches
void ForwardPass::output_part(int64_t n_tokens) {
    const Hyperparameters& h = model_.hyperparameters();
    const size_t n_values = size_t(n_tokens) * size_t(h.n_vocab);
    const size_t size_bytes = n_values * sizeof(float);
    if (!device_logits_ || device_logits_->size_bytes() < size_bytes)
        device_logits_ = backend_.allocate(size_bytes);

    backend_.rms_norm(*x_, *model_.weights().output_norm, h.norm_epsilon, n_tokens, h.n_embd, *normed_);
    const Projection output[] = {{&model_.weights().output_matrix(), nullptr, device_logits_.get()}};
    backend_.matmul(*normed_, n_tokens, output);
    const size_t n_before = logits_.size();
    logits_.resize(n_before + n_values);
    backend_.download(*device_logits_, std::as_writable_bytes(std::span(logits_).subspan(n_before)));
}

}  // namespace ingot::runtime

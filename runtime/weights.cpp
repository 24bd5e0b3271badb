#include "runtime/weights.h"

#include <cmath>

#include "format/error.h"
#include "runtime/tensor_loader.h"

namespace ingot::runtime {
namespace {

/// Loads one layer's tensors.
class LayerLoader {
  public:
    LayerLoader(TensorLoader& loader, const Hyperparameters& model, int64_t index)
        : loader_(loader),
          model_(model),
          family_(*model.family),
          geometry_(model.layers[size_t(index)]),
          prefix_(fmt::format("blk.{}.", index)) {}

    LayerWeights load() {
        LayerWeights layer;
        load_norms(layer);
        layer.attention = load_attention();
        layer.feed_forward = load_feed_forward();
        return layer;
    }

  private:
    std::string name(std::string_view part) const { return fmt::format("{}{}", prefix_, part); }
    bool all_biases() const { return family_.biases == Biases::All; }

    void load_norms(LayerWeights& layer) {
        const auto norm = [&](std::string_view part) {
            return loader_.norm(name(part), family_.norm, model_.n_embd);
        };
        if (family_.placement != NormPlacement::After) {
            layer.mixer_norm = norm("attn_norm");
            const bool is_optional = family_.residual == Residual::Parallel ||
                                     family_.residual == Residual::ParallelWithoutFfnNorm;
            if (!is_optional || loader_.has(name(family_.ffn_norm) + ".weight")) {
                layer.feed_forward_norm = norm(family_.ffn_norm);
            }
            if (loader_.has(
                    name("attn_norm_2.weight"))) {  // Falcon: then the first is the feed-forward part's
                layer.feed_forward_norm = std::move(layer.mixer_norm);
                layer.mixer_norm = norm("attn_norm_2");
            }
        }
        if (family_.placement != NormPlacement::Before) {
            layer.mixer_post_norm = norm("post_attention_norm");
            layer.feed_forward_post_norm = norm("post_ffw_norm");
        }
    }

    AttentionWeights load_attention() {
        const LayerGeometry& g = geometry_;
        const int64_t n_embd = model_.n_embd;
        const bool biased = family_.biases != Biases::Optional;
        AttentionWeights attention;
        if (loader_.has(name("attn_qkv.weight"))) {
            const int64_t n_all = g.q_width() + g.k_width() + g.v_width();
            const auto slice = [&](int64_t first, int64_t n_out) {
                return loader_.linear(name("attn_qkv"), n_out, n_embd, biased, {first, n_all});
            };
            attention.q = slice(0, g.q_width());
            attention.k = slice(g.q_width(), g.k_width());
            attention.v = slice(g.q_width() + g.k_width(), g.v_width());
        } else {
            attention.q = loader_.linear(name("attn_q"), g.q_width(), n_embd, biased);
            attention.k = loader_.linear(name("attn_k"), g.k_width(), n_embd, biased);
            attention.v = loader_.linear(name("attn_v"), g.v_width(), n_embd, biased);
        }
        attention.output = loader_.linear(name("attn_output"), n_embd, g.attended_width(), all_biases());
        load_qk_norms(attention);
        if (family_.sinks) attention.sinks = loader_.vector(name("attn_sinks.weight"), g.n_heads);
        return attention;
    }

    void load_qk_norms(AttentionWeights& attention) {
        const LayerGeometry& g = geometry_;
        const bool present = loader_.has(name("attn_q_norm.weight"));
        const auto norms = [&](int64_t q, int64_t k, int64_t q_groups, int64_t k_groups) {
            attention.q_norm = loader_.norm(name("attn_q_norm"), family_.norm, q, q_groups);
            attention.k_norm = loader_.norm(name("attn_k_norm"), family_.norm, k, k_groups);
        };
        switch (family_.qk_norm) {
            case QkNorm::None:
                return;
            case QkNorm::Head:
                return norms(g.key_dim, g.key_dim, 1, 1);
            case QkNorm::OptionalEach:
                if (present) norms(g.key_dim, g.key_dim, g.n_heads, g.n_kv_heads);
                return;
            case QkNorm::OptionalWidth:
                if (!present) return;
                [[fallthrough]];
            case QkNorm::Width:
                return norms(g.q_width(), g.k_width(), 1, 1);
            case QkNorm::HeadAfterRope:
                attention.q_norm.weight = loader_.constant(1, g.key_dim);
                attention.k_norm.weight = loader_.constant(1, g.key_dim);
                return;
        }
    }

    FeedForwardWeights load_feed_forward() {
        const int64_t n_embd = model_.n_embd;
        const int64_t n_ff = geometry_.n_ff;
        FeedForwardWeights weights;
        if (family_.gated && !loader_.has(name("ffn_gate.weight")) && has_fused_gate()) {
            weights.gate = loader_.linear(name("ffn_up"), n_ff, n_embd, all_biases(), {0, 2 * n_ff});
            weights.up = loader_.linear(name("ffn_up"), n_ff, n_embd, all_biases(), {n_ff, 2 * n_ff});
        } else {
            if (family_.gated) weights.gate = loader_.linear(name("ffn_gate"), n_ff, n_embd, all_biases());
            weights.up = loader_.linear(name("ffn_up"), n_ff, n_embd, all_biases());
        }
        weights.down = loader_.linear(name("ffn_down"), n_embd, n_ff, all_biases());
        return weights;
    }

    // ffn_up may hold both: the gate's rows, then its own.
    bool has_fused_gate() const { return loader_.rows(name("ffn_up.weight")) == 2 * geometry_.n_ff; }

    TensorLoader& loader_;
    const Hyperparameters& model_;
    const ModelFamily& family_;
    const LayerGeometry& geometry_;
    std::string prefix_;
};

// Divisors of the frequencies, (n_rot/2); none when the file has none.
std::vector<float> rope_factors(TensorLoader& loader, const std::string& name, int64_t n_rot) {
    if (!loader.has(name)) return {};
    std::vector<float> factors = loader.floats(name, n_rot / 2);
    for (const float factor : factors) {
        if (!(factor > 0 && std::isfinite(factor))) {
            fail("tensor {}: holds {}; expected finite numbers above 0", name, factor);
        }
    }
    return factors;
}

void load_ropes(TensorLoader& loader, const Hyperparameters& model, Weights& weights) {
    const auto table = [&](const RopeParameters& rope, const std::string& factors_name) {
        const RopeTable computed = rope_table(rope, rope_factors(loader, factors_name, rope.n_rot));
        return RopeWeights{loader.upload(computed.frequencies), computed.magnitude};
    };
    const bool has_long = loader.has("rope_factors_long.weight");
    if (has_long) weights.rope_long = table(model.rope, "rope_factors_long.weight");
    weights.rope = table(model.rope, has_long ? "rope_factors_short.weight" : "rope_freqs.weight");
    if (model.family->window_rope == WindowRope::Unscaled) weights.rope_window = table(model.window_rope, "");
}

// How fast attention fades with distance in each head (Press et al. 2021). For numbers of heads that are no
// power of two there are two customs: the slopes of the next lower power, and then every other one of the
// next higher; or, in MPT, the even ones of the next higher power before its odd ones.
std::vector<float> slopes_of_heads(const Hyperparameters& model, int64_t n_heads) {
    const auto powers = [&](int64_t n) {  // 2^(-max_bias * i / n), i = 1 … n
        std::vector<float> slopes;
        for (int64_t i = 1; i <= n; ++i)
            slopes.push_back(std::exp2(-model.max_alibi_bias * float(i) / float(n)));
        return slopes;
    };
    int64_t lower = 1;
    while (2 * lower <= n_heads) lower *= 2;
    if (lower == n_heads) return powers(n_heads);
    const std::vector<float> higher = powers(2 * lower);
    std::vector<float> slopes;
    if (model.family->odd_alibi_first) {
        for (size_t i = 1; i < higher.size(); i += 2) slopes.push_back(higher[i]);
    } else {
        slopes = powers(lower);
    }
    for (size_t i = 0; i < higher.size(); i += 2) slopes.push_back(higher[i]);
    slopes.resize(size_t(n_heads));
    return slopes;
}

}  // namespace

Weights Weights::load(const GgufFile& file, const Hyperparameters& model, Backend& backend) {
    TensorLoader loader(file, backend);
    const ModelFamily& family = *model.family;
    Weights weights;
    weights.token_embedding = loader.matrix("token_embd.weight", model.n_vocab, model.n_embd);
    if (family.position == Position::Learned || loader.has("position_embd.weight")) {
        weights.positions = loader.matrix("position_embd.weight", model.n_context, model.n_embd);
    }
    if (family.embedding_norm)
        weights.embedding_norm = loader.norm("token_embd_norm", family.norm, model.n_embd);
    for (int64_t i = 0; i < model.n_layers; ++i) {
        weights.layers.push_back(LayerLoader(loader, model, i).load());
    }
    weights.output_norm = loader.norm("output_norm", family.norm, model.n_embd);
    if (loader.has("output.weight")) {
        weights.output = loader.linear("output", model.n_vocab, model.n_embd, false);
    }
    if (family.position == Position::Rope) load_ropes(loader, model, weights);
    if (model.max_alibi_bias > 0) {
        const int64_t n_heads = model.widest([](const LayerGeometry& layer) { return layer.n_heads; });
        for (const LayerGeometry& layer : model.layers) {
            if (layer.n_heads != n_heads)
                fail("{}.attention.head_count differs between layers; ALiBi expects one for all",
                     family.name);
        }
        weights.alibi_slopes = loader.upload(slopes_of_heads(model, n_heads));
    }
    return weights;
}

}  // namespace ingot::runtime

#include "runtime/weights.h"

#include <cmath>

#include "format/error.h"
#include "runtime/tensor_loader.h"
#include "runtime/unpack.h"

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
          index_(index),
          prefix_(fmt::format("blk.{}.", index)) {}

    LayerWeights load() {
        LayerWeights layer;
        load_norms(layer);
        switch (geometry_.mixer) {
            case Mixer::Attention:
                layer.attention = load_attention();
                break;
            case Mixer::LatentAttention:
                layer.latent = load_latent();
                break;
            case Mixer::DeltaNet:
                layer.delta = load_delta();
                break;
        }
        if (geometry_.has_experts) layer.experts = load_experts();
        if (geometry_.has_experts && family_.experts_beside) load_beside(layer);
        if (!geometry_.has_experts || family_.experts_beside) {
            layer.feed_forward = load_feed_forward("ffn_{}", geometry_.n_ff);
        }
        if (model_.n_layer_embd != 0) {
            layer.embedding.gate =
                loader_.linear(name("inp_gate"), model_.n_layer_embd, model_.n_embd, false);
            layer.embedding.output = loader_.linear(name("proj"), model_.n_embd, model_.n_layer_embd, false);
            layer.embedding.norm = loader_.norm(name("post_norm"), family_.norm, model_.n_embd);
        }
        if (loader_.has(name("layer_output_scale.weight"))) {
            layer.output_scale = loader_.floats(name("layer_output_scale.weight"), 1)[0];
        }
        return layer;
    }

  private:
    void load_beside(LayerWeights& layer) {
        const auto norm = [&](std::string_view part) {
            return loader_.norm(name(part), family_.norm, model_.n_embd);
        };
        layer.beside.dense_post_norm = norm("post_ffw_norm_1");
        layer.beside.experts_norm = norm("pre_ffw_norm_2");
        layer.beside.experts_post_norm = norm("post_ffw_norm_2");
        std::vector<float> scale = loader_.floats(name("ffn_gate_inp.scale"), model_.n_embd);
        for (float& value : scale) value /= std::sqrt(float(model_.n_embd));
        layer.beside.router_norm.weight = loader_.upload(scale);
    }

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
        if (loader_.has(name("attn_qkv.weight")) && !family_.gated_attention) {
            const int64_t n_all = g.q_width() + g.k_width() + g.v_width();
            const auto slice = [&](int64_t first, int64_t n_out) {
                return loader_.linear(name("attn_qkv"), n_out, n_embd, biased, {first, n_all});
            };
            attention.q = slice(0, g.q_width());
            attention.k = slice(g.q_width(), g.k_width());
            attention.v = slice(g.q_width() + g.k_width(), g.v_width());
        } else {
            const int64_t n_parts = family_.gated_attention ? 2 : 1;
            attention.q = loader_.linear(name("attn_q"), n_parts * g.q_width(), n_embd, biased);
            if (geometry_.kv_layer == index_) {  // else they are another layer's
                attention.k = loader_.linear(name("attn_k"), g.k_width(), n_embd, biased);
                // Where keys are the values, too, there is nothing more.
                const bool same =
                    family_.norm_values && g.k_width() == g.v_width() && !loader_.has(name("attn_v.weight"));
                if (!same) attention.v = loader_.linear(name("attn_v"), g.v_width(), n_embd, biased);
            }
        }
        if (family_.norm_values) attention.v_norm = loader_.constant(1, g.value_dim);
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
            if (geometry_.kv_layer != index_) return;
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

    LatentWeights load_latent() {
        const LatentGeometry& g = model_.latent;
        const int64_t n_embd = model_.n_embd;
        const int64_t n_heads = geometry_.n_heads;
        const int64_t q_width = n_heads * (g.plain_dim + g.rotated_dim);
        LatentWeights latent;
        if (g.query_rank != 0) {
            latent.q_down = loader_.linear(name("attn_q_a"), g.query_rank, n_embd, false);
            latent.q_norm = loader_.vector(name("attn_q_a_norm.weight"), g.query_rank);
            latent.q = loader_.linear(name("attn_q_b"), q_width, g.query_rank, false);
        } else {
            latent.q = loader_.linear(name("attn_q"), q_width, n_embd, false);
        }
        latent.kv_down = loader_.linear(name("attn_kv_a_mqa"), g.rank + g.rotated_dim, n_embd, false);
        latent.kv_norm = loader_.vector(name("attn_kv_a_norm.weight"), g.rank);
        latent.k_up = loader_.matrices(name("attn_k_b.weight"), n_heads, g.rank, g.plain_dim);
        latent.v_up = loader_.matrices(name("attn_v_b.weight"), n_heads, g.value_dim, g.rank);
        latent.output = loader_.linear(name("attn_output"), n_embd, n_heads * g.value_dim, false);
        return latent;
    }

    DeltaWeights load_delta() {
        const DeltaGeometry& g = model_.delta;
        const int64_t n_embd = model_.n_embd;
        const int64_t n_heads = g.heads.n_value_heads;
        DeltaWeights delta;
        delta.mixed = loader_.linear(name("attn_qkv"), g.mixed_width(), n_embd, false);
        delta.gate = loader_.linear(name("attn_gate"), g.value_width(), n_embd, false);
        if (loader_.has(name("ssm_ba.weight"))) {
            delta.beta_alpha = loader_.linear(name("ssm_ba"), 2 * n_heads, n_embd, false);
        } else {
            delta.beta = loader_.linear(name("ssm_beta"), n_heads, n_embd, false);
            delta.alpha = loader_.linear(name("ssm_alpha"), n_heads, n_embd, false);
        }
        delta.taps = loader_.vector(name("ssm_conv1d.weight"), g.n_taps, g.mixed_width());
        delta.decay = loader_.vector(name("ssm_a"), n_heads);
        delta.alpha_bias = loader_.vector(name("ssm_dt.bias"), n_heads);
        delta.norm = loader_.vector(name("ssm_norm.weight"), g.heads.value_dim);
        delta.unit = loader_.constant(1 / std::sqrt(float(g.heads.key_dim)), g.heads.key_dim);
        delta.output = loader_.linear(name("ssm_out"), n_embd, g.value_width(), false);
        return delta;
    }

    // Tensors "blk.3.ffn_up" and so on; the pattern says how they are called.
    FeedForwardWeights load_feed_forward(std::string_view pattern, int64_t n_ff) {
        const int64_t n_embd = model_.n_embd;
        const auto part = [&](std::string_view which) {
            return name(fmt::format(fmt::runtime(pattern), which));
        };
        FeedForwardWeights weights;
        // The rows of `up` may be the gate's, then its own.
        const bool fused = family_.gated && !loader_.has(part("gate") + ".weight") &&
                           loader_.rows(part("up") + ".weight") == 2 * n_ff;
        if (fused) {
            weights.gate = loader_.linear(part("up"), n_ff, n_embd, all_biases(), {0, 2 * n_ff});
            weights.up = loader_.linear(part("up"), n_ff, n_embd, all_biases(), {n_ff, 2 * n_ff});
        } else {
            if (family_.gated) weights.gate = loader_.linear(part("gate"), n_ff, n_embd, all_biases());
            weights.up = loader_.linear(part("up"), n_ff, n_embd, all_biases());
        }
        weights.down = loader_.linear(part("down"), n_embd, n_ff, all_biases());
        return weights;
    }

    ExpertWeights load_experts() {
        const int64_t n_embd = model_.n_embd;
        const int64_t n_experts = model_.routing.n_experts;
        const int64_t n_ff = model_.n_ff_expert;
        const auto matrices = [&](std::string_view part, int64_t n_out, int64_t n_in) {
            Linear linear;
            linear.weight = loader_.matrices(name(part) + ".weight", n_experts, n_out, n_in);
            const std::string bias = name(part) + ".bias";
            if (all_biases() || loader_.has(bias)) linear.bias = loader_.vector(bias, n_out, n_experts);
            return linear;
        };
        ExpertWeights experts;
        experts.router = loader_.linear(name("ffn_gate_inp"), n_experts, n_embd, all_biases());
        experts.selection_bias = loader_.optional_vector(name("exp_probs_b.bias"), n_experts);
        experts.scales = loader_.optional_vector(name("ffn_down_exps.scale"), n_experts);
        if (loader_.has(name("ffn_gate_up_exps.weight"))) {
            experts.gate_up = matrices("ffn_gate_up_exps", 2 * n_ff, n_embd);
        } else {
            experts.gate = matrices("ffn_gate_exps", n_ff, n_embd);
            experts.up = matrices("ffn_up_exps", n_ff, n_embd);
        }
        experts.down = matrices("ffn_down_exps", n_embd, n_ff);
        if (geometry_.n_ff_shared != 0) {
            experts.shared = load_feed_forward("ffn_{}_shexp", geometry_.n_ff_shared);
            const std::string gate = name("ffn_gate_inp_shexp");
            if (loader_.has(gate + ".weight"))
                experts.shared_gate.weight = loader_.row(gate + ".weight", n_embd);
        }
        return experts;
    }

    TensorLoader& loader_;
    const Hyperparameters& model_;
    const ModelFamily& family_;
    const LayerGeometry& geometry_;
    int64_t index_;
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

Weights Weights::load(const GgufModel& file, const Hyperparameters& model, Backend& backend,
                      const Replacement* replacement, const WeightMemory* memory) {
    if (memory == nullptr || memory->has_bytes()) unpack_all(file);
    TensorLoader loader(file, backend, replacement, memory);
    const ModelFamily& family = *model.family;
    Weights weights;
    weights.token_embedding = loader.matrix("token_embd.weight", model.n_vocab, model.n_embd);
    if (family.position == Position::Learned || loader.has("position_embd.weight")) {
        weights.positions = loader.matrix("position_embd.weight", model.n_context, model.n_embd);
    }
    if (family.embedding_norm)
        weights.embedding_norm = loader.norm("token_embd_norm", family.norm, model.n_embd);
    if (model.n_layer_embd != 0) {
        const int64_t n_all = model.n_layers * model.n_layer_embd;
        weights.layer_embeddings = loader.matrix("per_layer_token_embd.weight", model.n_vocab, n_all);
        weights.layer_projection = loader.linear("per_layer_model_proj", n_all, model.n_embd, false);
        weights.layer_projection_norm = loader.vector("per_layer_proj_norm.weight", model.n_layer_embd);
    }
    for (int64_t i = 0; i < model.n_layers; ++i) {
        weights.layers.push_back(LayerLoader(loader, model, i).load());
    }
    weights.output_norm = loader.norm("output_norm", family.norm, model.n_embd);
    if (loader.has("output.weight")) {
        weights.output = loader.linear("output", model.n_vocab, model.n_embd, false);
    }
    backend.begin_tensor("rope");
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
    backend.begin_tensor({});
    return weights;
}

}  // namespace ingot::runtime

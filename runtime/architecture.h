#pragma once
// Model families as data. There is one forward pass for all of them (forward.h): a row says what the keys of
// a file leave unsaid, a new model is a new row, a new kind of mixer is a new function in layers/.
#include <cstdint>
#include <span>
#include <string_view>

#include "runtime/backend.h"

namespace ingot::runtime {

/// Where a layer norms: its parts' inputs, their outputs before they are added, or both.
enum class NormPlacement : uint8_t { Before, After, BeforeAndAfter };

/// What the feed-forward part sees. Parallel: x + mixer(norm(x)) + feed_forward(norm(x)).
enum class Residual : uint8_t {
    Sequential,
    Parallel,                // by ffn_norm where the file has it, else by the mixer's norm
    ByKey,                   // as `use_parallel_residual` says
    ParallelWithoutFfnNorm,  // where a layer has no ffn_norm
};

/// Norms of queries and keys before the rotation.
enum class QkNorm : uint8_t {
    None,
    Head,          // every head by the same weights (head_dim)
    OptionalEach,  // every head by its own weights (n_heads, head_dim), where the file has them
    Width,         // all heads at once (n_heads * head_dim)
    OptionalWidth,
    HeadAfterRope,  // every head, without weights, on layers that rotate (Llama 4)
};

enum class Position : uint8_t { Rope, Learned, Alibi, None };

/// The rotation of layers with a window, where it isn't that of the others.
enum class WindowRope : uint8_t {
    Same,
    Unscaled,  // the base of `rope.freq_base_swa`, no context extension
    Only,      // layers without a window aren't rotated at all
};

/// How a layer mixes tokens. Recurrent families have attention in some layers, and a state in the others.
enum class MixerFamily : uint8_t {
    Attention,
    LatentAttention,       // keys and values are compressed (DeepSeek-V2's MLA)
    AttentionAndDeltaNet,  // gated delta nets, and attention in every few layers (Qwen3-Next)
};

/// Which biases have to be there; others are used where the file has them.
enum class Biases : uint8_t { Optional, Qkv, All };

enum class LogitScale : uint8_t { None, Multiply, Divide };

/// One row per family.
struct ModelFamily {
    std::string_view name;  // `general.architecture`, and the prefix of the family's keys

    // Norms and residuals.
    NormKind norm = NormKind::Rms;
    NormPlacement placement = NormPlacement::Before;
    std::string_view ffn_norm = "ffn_norm";  // the tensor of the feed-forward part's input norm
    bool embedding_norm = false;
    Residual residual = Residual::Sequential;

    // Attention.
    MixerFamily mixer = MixerFamily::Attention;
    bool gated_attention = false;    // queries come with a gate: heads of attn_q are (query, gate)
    bool tiled_value_heads = false;  // of delta nets: see DeltaHeads
    QkNorm qk_norm = QkNorm::None;
    Position position = Position::Rope;
    RopePairing rope_pairing = RopePairing::Halves;
    WindowRope window_rope = WindowRope::Same;
    float window_rope_base = 0;      // unless the file says; 0: that of the other layers
    int64_t rope_skip = 0;           // every so many layers one isn't rotated; 0: all are
    float yarn_log_unit = 1;         // of `yarn_log_multiplier`
    bool yarn_log_cancels = false;   // the rotation's magnitude is 1 where the file has the multiplier
    float temperature_scale = 0;     // queries grow with log(position), unless the file says; 0: they don't
    int64_t temperature_length = 0;  // positions, unless the file says; 0: the original context
    bool temperature_unrotated = false;  // only on layers that aren't rotated; positions count from 1
    bool chunked_windows = false;        // see HeadGeometry
    int64_t window = 0;                  // positions, unless the file says
    int64_t window_period = 0;           // the last of so many layers has no window; 0: all have it
    float attention_soft_cap = 0;        // unless the file says
    int64_t n_layers_wide_scale =
        0;                      // models of so many layers scale by sqrt(n_embd / n_heads), not the head's
    float attention_scale = 0;  // of query · key, unless the file says; 0: 1/sqrt(key_dim)
    bool norm_values = false;   // every head of the values, without weights
    bool sinks = false;
    bool odd_alibi_first = false;  // MPT's order of slopes where the heads are no power of two

    // Feed-forward.
    Activation activation = Activation::Silu;
    bool gated = true;  // down(activation(gate(x)) * up(x)), else down(activation(up(x)))

    // Experts, in files that have them.
    Gating gating = Gating::Softmax;  // unless the file says
    bool normalize_experts = true;    // their weights sum to 1, unless the file says
    bool weigh_inputs = false;        // the weights scale what the experts see, not what they say
    bool experts_beside = false;      // of a dense part with norms of its own; the router has one, too

    // Ends.
    bool embedding_scaled = false;  // by sqrt(n_embd)
    float final_soft_cap = 0;       // of the logits, unless the file says
    LogitScale logit_scale = LogitScale::None;
    Biases biases = Biases::Optional;
};
std::span<const ModelFamily> model_families();

}  // namespace ingot::runtime

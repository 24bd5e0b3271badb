#pragma once
// Model families as data, and what a file says about its own geometry.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"
#include "runtime/backend.h"

namespace ingot::runtime {

/// One row per family: what the header's keys leave unsaid. There is one forward pass for all of them.
struct ModelFamily {
    std::string_view name;  // `general.architecture`, and the prefix of the family's keys
    RopePairing rope_pairing;
    bool attention_bias;  // biases of query, key and value: required (true) or optional (false)
};
std::span<const ModelFamily> model_families();

enum class RopeScaling : uint8_t { None, Linear, Yarn };

/// The geometry of one model, read from the header and validated: every number is in range, they agree with
/// each other, and no product of two of them overflows 64 bits.
struct Hyperparameters {
    const ModelFamily* family = nullptr;
    int64_t n_layers = 0;
    int64_t n_embd = 0;      // width of the residual stream
    int64_t n_heads = 0;     // query heads
    int64_t n_kv_heads = 0;  // divides n_heads
    int64_t head_dim = 0;    // n_embd / n_heads unless the file says otherwise
    int64_t n_ff = 0;        // inner width of the feed-forward part
    int64_t n_vocab = 0;     // tokens
    int64_t n_context = 0;   // positions that the model was trained for
    int64_t window = 0;      // sliding window of attention, positions; 0: none
    float norm_epsilon = 0;

    int64_t n_rot = 0;  // rotated elements of each head
    float rope_base = 0;
    RopeScaling rope_scaling = RopeScaling::None;
    float rope_factor = 1;  // context extension: 4 means positions are 4 times as dense
    float rope_attention_factor = 1;
    int64_t rope_original_context = 0;              // positions, before the extension
    float yarn_beta_fast = 32, yarn_beta_slow = 1;  // rotations over the original context

    int64_t q_width() const { return n_heads * head_dim; }
    int64_t kv_width() const { return n_kv_heads * head_dim; }

    /// Throws Error naming the key, what was found and what was expected.
    static Hyperparameters from_header(const GgufHeader& header);
};

/// Radians per position of each rotated pair (n_rot/2), and the magnitude that goes with them. `factors`
/// (`rope_freqs.weight`, n_rot/2 values or empty) divide the frequencies. O(n_rot).
struct RopeTable {
    std::vector<float> frequencies;
    float magnitude = 1;
};
RopeTable rope_table(const Hyperparameters& model, std::span<const float> factors);

}  // namespace ingot::runtime

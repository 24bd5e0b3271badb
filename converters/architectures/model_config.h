#pragma once
// config.json -> the model's dimensions, and GGUF's hyperparameter keys.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converters/architectures/family.h"
#include "converters/sources/json.h"
#include "format/metadata.h"

namespace ingot::converters {

/// Rotary position embedding with a stretched context.
struct RopeScaling {
    enum class Kind : uint8_t { None, Linear, Yarn, Llama3, LongRope, Proportional };
    Kind kind = Kind::None;
    double factor = 1;
    uint64_t original_context = 0;                                         // tokens; Yarn, Llama3, LongRope
    double low_frequency = 1, high_frequency = 4;                          // Llama3
    std::optional<double> extrapolation, attention, beta_fast, beta_slow;  // Yarn; attention: LongRope too
    std::optional<double> magnitude_all;             // Yarn, DeepSeek's and Mistral's mscale_all_dim
    std::vector<float> long_factors, short_factors;  // LongRope: (rotary_dim / 2)
};

struct Experts {
    uint64_t n = 0, n_used = 0;        // a layer; a token
    uint64_t feed_forward = 0;         // elements, of each
    uint64_t n_shared = 0;             // that every token goes through
    uint64_t shared_feed_forward = 0;  // elements, of all shared ones together
};

/// DeepSeek's attention over a compressed cache (MLA): ranks and the parts of a head.
struct LatentAttention {
    uint64_t query_rank = 0;  // 0: queries are not compressed
    uint64_t kv_rank = 0, unrotated = 0, rotated = 0, value = 0;
};

/// The gated delta net of Qwen3-Next: a linear attention with a state per value head.
struct DeltaNet {
    uint64_t key_heads = 0, value_heads = 0, key_dim = 0, value_dim = 0, kernel = 0;
    uint64_t key_width() const { return key_heads * key_dim; }
    uint64_t value_width() const { return value_heads * value_dim; }
};

/// What differs between the layers of one model.
struct LayerConfig {
    bool sliding = false;    // attends to a window
    bool recurrent = false;  // a delta net instead of attention
    bool experts = false;    // the feed-forward part
    bool own_kv = true;      // false: it uses the keys and values of an earlier layer
    uint64_t n_kv_heads = 0, head_dim = 0, feed_forward = 0;
};

/// What config.json says of a model that a family describes. Validated: no dimension is zero, heads divide.
struct ModelConfig {
    const Family* family = nullptr;
    uint64_t n_layers = 0;
    uint64_t hidden = 0;        // elements of a token's vector
    uint64_t feed_forward = 0;  // elements
    uint64_t n_heads = 0;
    uint64_t n_kv_heads = 0;
    uint64_t head_dim = 0;    // elements
    uint64_t rotary_dim = 0;  // elements of a head that are rotated
    uint64_t vocabulary = 0;  // tokens
    uint64_t context = 0;     // tokens; 0 when config.json has none
    uint64_t window = 0;      // tokens that a sliding layer sees; 0: no such layers
    bool head_dim_given = false;
    bool tied_output = false;
    bool attention_bias = false;
    bool mlp_bias = false;
    std::string activation;  // as Hugging Face calls it
    double rope_theta = 10000;
    std::optional<double> rope_theta_sliding;  // of sliding layers, when it differs
    RopeScaling rope;
    Experts experts;
    LatentAttention latent;
    DeltaNet delta_net;
    bool norm_for_each = false;     // attention and feed-forward side by side have a norm each (Falcon 40B)
    uint64_t n_further_layers = 0;  // stored behind the model's own: heads that predict further tokens
    uint64_t per_layer_input = 0;   // elements that each layer gets for each token (Gemma 4)
    std::vector<LayerConfig> layers;
    std::vector<std::string> warnings;

    const LayerConfig& layer(uint64_t index) const { return layers.at(index); }
};

/// Throws Error when the architecture is not supported (the message lists those that are), or when a number
/// is missing or makes no sense. With `family`, the class that config.json names is not asked.
ModelConfig read_model_config(const Json& config, const Family* family = nullptr);

/// The object of config.json that describes the text model: "text_config" in models with several towers.
const Json& text_config(const Json& config);
/// The value under the first of "key|other_key" that is there. Throw Error when it is something else.
std::optional<uint64_t> find_uint(const Json& config, std::string_view keys);
std::optional<double> find_number(const Json& config, std::string_view keys);
/// The same; throws Error when it is missing, 0, or larger than any model has.
uint64_t require_dimension(const Json& config, std::string_view keys);

/// Where a family writes its keys: "<architecture>." is put in front.
class Hyperparameters {
  public:
    Hyperparameters(std::string prefix, std::string where, Metadata& metadata)
        : prefix_(std::move(prefix)), where_(std::move(where)), metadata_(metadata) {}
    void set_uint(std::string_view suffix, uint64_t value);  // throws Error beyond 32 bits
    void set_float(std::string_view suffix, double value);
    void set_bool(std::string_view suffix, bool value);
    void set_text(std::string_view suffix, std::string_view value);
    void set_uints(std::string_view suffix, const std::vector<uint64_t>& values);
    void set_bools(std::string_view suffix, const std::vector<bool>& values);

  private:
    std::string prefix_, where_;
    Metadata& metadata_;
};

/// The "<architecture>.*" keys.
void write_hyperparameters(const ModelConfig& model, const Json& config, Metadata& metadata);

/// Llama 3's stretched rotary frequencies as divisors, (head_dim / 2): the tensor rope_freqs.weight.
std::vector<float> llama3_rope_factors(const ModelConfig& model);

/// Divisors of rotary frequencies that a file has as tensors, by name, but for Llama 3's.
std::vector<std::pair<std::string, std::vector<float>>> rope_factor_tensors(const ModelConfig& model);

/// rope_theta and the scaling, into `model`.
void read_rope(const Json& config, ModelConfig& model);

}  // namespace ingot::converters

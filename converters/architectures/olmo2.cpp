// OLMo-2: norms behind both parts of a layer instead of before, and of all queries and all keys together.
// OLMo-3 adds a window in three layers of four.
#include <algorithm>

#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr TensorRule kOlmo2Tensors[] = {
    kEmbedding,
    query(),
    query_norm(query_width),
    key(),
    key_norm(kv_width),
    kValue,
    kAttentionOutput,
    {"model.layers.{bid}.post_attention_layernorm.weight", "blk.{bid}.post_attention_norm.weight", {hidden}},
    kGate,
    kUp,
    kDown,
    {"model.layers.{bid}.post_feedforward_layernorm.weight", "blk.{bid}.post_ffw_norm.weight", {hidden}},
    kOutputNorm,
    kOutput,
    kTiedOutput,
};
static constexpr NumberRule kOlmo2Numbers[] = {kContext, kEpsilon};
static void olmo_keys(const ModelConfig& model, const Json&, Hyperparameters& keys) {
    if (std::ranges::none_of(model.layers, &LayerConfig::sliding)) return;
    keys.set_uint("attention.sliding_window", model.window);
    std::vector<bool> pattern;
    for (const LayerConfig& layer : model.layers) pattern.push_back(layer.sliding);
    keys.set_bools("attention.sliding_window_pattern", pattern);
}
static constexpr std::string_view kOlmo2Classes[] = {"Olmo2ForCausalLM", "Olmo3ForCausalLM"};
static constexpr std::string_view kOlmo2Types[] = {"olmo2", "olmo3"};
extern const Family kOlmo2{.name = "OLMo-2",
                           .classes = kOlmo2Classes,
                           .model_types = kOlmo2Types,
                           .architecture = "olmo2",
                           .tensors = kOlmo2Tensors,
                           .numbers = kOlmo2Numbers,
                           .activations = kSilu,
                           .more_keys = olmo_keys};

}  // namespace ingot::converters

// Qwen2 and Qwen2.5: biases on Q, K and V, always. GGUF's "qwen2" pairs rotary elements as Hugging Face does,
// so that no row moves.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kClasses[] = {"Qwen2ForCausalLM"};

static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(RowOrder::Unchanged),
    query_bias(RowOrder::Unchanged, Presence::Required),
    key(RowOrder::Unchanged),
    key_bias(RowOrder::Unchanged, Presence::Required),
    kValue,
    value_bias(Presence::Required),
    kAttentionOutput,
    kFeedForwardNorm,
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutput,
};

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

extern const Family kQwen2{"Qwen2", kClasses, "qwen2", kTensors, kNumbers};

}  // namespace ingot::converters

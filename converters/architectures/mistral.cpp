// Mistral 7B and its kin: Llama's layers without biases; the first version attends to a sliding window.
#include "converters/architectures/tables.h"

namespace ingot::converters {

using namespace decoder;

static constexpr std::string_view kClasses[] = {"MistralForCausalLM"};

static constexpr TensorRule kTensors[] = {
    kEmbedding,
    kAttentionNorm,
    query(RowOrder::InterleavedQueryHeads),
    key(RowOrder::InterleavedKvHeads),
    kValue,
    kAttentionOutput,
    kFeedForwardNorm,
    kGate,
    kUp,
    kDown,
    kOutputNorm,
    kOutput,
};

static constexpr NumberRule kNumbers[] = {kContext, kEpsilon};

extern const Family kMistral{"Mistral", kClasses, "llama", kTensors, kNumbers, /*sliding_window=*/true};

}  // namespace ingot::converters

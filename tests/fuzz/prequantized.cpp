// Any safetensors file as a pre-quantized checkpoint: decoded and read from end to end, or an Error. The file
// is preceded by config.json and a zero byte.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "converters/prequantized/prequantized.h"
#include "converters/sources/safetensors.h"
#include "format/error.h"

using namespace ingot::converters;

namespace {

class InMemory final : public Checkpoint {
  public:
    explicit InMemory(std::vector<SourceTensor> tensors) : tensors_(std::move(tensors)) {}
    const std::vector<SourceTensor>& tensors() const override { return tensors_; }
    std::string_view format() const override { return "safetensors"; }
    const std::vector<const ingot::MappedFile*>& files() const override { return files_; }

  private:
    std::vector<SourceTensor> tensors_;
    std::vector<const ingot::MappedFile*> files_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const void* end = std::memchr(data, 0, size);
    if (!end) return 0;
    const char* text = reinterpret_cast<const char*>(data);
    const size_t config_bytes = size_t(static_cast<const char*>(end) - text);
    const std::span file(reinterpret_cast<const std::byte*>(data) + config_bytes + 1,
                         size - config_bytes - 1);
    try {
        const Json config = Json::parse({text, config_bytes}, "config.json");
        const InMemory checkpoint(parse_safetensors(file, "input"));
        WeightSet weights(checkpoint);
        decode_prequantized(config, checkpoint, weights);
        for (const WeightSet::Weight& weight : weights.weights()) {
            // No form holds more than some tens of values in a byte.
            if (weight.rows && weight.rows->n_elements() > 64 * size) std::abort();
            if (weight.rows) read_all(*weight.rows);
        }
    } catch (const ingot::Error&) {
    }
    return 0;
}

// Any bytes: the header is refused with an Error, or all that it says holds and survives a rewrite.
#include "format/gguf.h"
#include "format/error.h"
#include "format/gguf_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size_bytes) try {
    using namespace ingot;
    const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size_bytes);
    const GgufHeader header = GgufHeader::parse(bytes);
    Metadata metadata;
    for (const KeyValue& entry : header.metadata()) {
        if (header.find(entry.key) != &entry.value) __builtin_trap();
        metadata.set(std::string(entry.key), Metadata::copy_of(entry.value));
    }
    for (const TensorInfo& tensor : header.tensors()) {
        if (header.find_tensor(tensor.name) != &tensor) __builtin_trap();
        if (tensor.offset > size_bytes || tensor.size_bytes > size_bytes - tensor.offset) __builtin_trap();
    }
    const std::vector<std::byte> rewritten = GgufLayout(metadata, {}).encode_header();
    const GgufHeader again = GgufHeader::parse(rewritten);
    if (again.metadata().size() != header.metadata().size()) __builtin_trap();
    for (size_t i = 0; i < header.metadata().size(); ++i) {
        const auto before = header.metadata()[i].value.encoded(), after = again.metadata()[i].value.encoded();
        if (!std::equal(before.begin(), before.end(), after.begin(), after.end())) __builtin_trap();
    }
    return 0;
} catch (const ingot::Error&) {
    return 0;
}

// Any bytes at all as a tokenizer.json: a description, or an Error.
#include <cstdint>

#include "converters/vocabulary/tokenizer_json.h"
#include "format/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) try {
    ingot::converters::TokenizerJson::parse({reinterpret_cast<const char*>(data), size}, "input");
    return 0;
} catch (const ingot::Error&) {
    return 0;
}

// Any GGUF header as a tokenizer: refused with an Error, or every text has ids of the vocabulary, and every
// id bytes. The first byte divides the input: up to its 64th parts are the text, the rest is the file.
#include <algorithm>
#include <string_view>

#include "format/error.h"
#include "format/gguf.h"
#include "runtime/tokenizer/tokenizer.h"

namespace {

void round_trip(const ingot::runtime::Tokenizer& tokenizer, std::string_view text) {
    for (const bool special : {false, true}) {
        const std::vector<ingot::runtime::Token> ids = tokenizer.encode(text, special, special);
        for (const ingot::runtime::Token id : ids) {
            if (id < 0 || static_cast<uint32_t>(id) >= tokenizer.size()) __builtin_trap();
            tokenizer.token_bytes(id, special);
        }
        tokenizer.decode(ids, special);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) try {
    if (size == 0) return 0;
    const size_t text_size = std::min<size_t>((size - 1) * std::min<size_t>(data[0], 64) / 64, 512);
    const std::string_view text(reinterpret_cast<const char*>(data) + 1, text_size);
    const ingot::GgufHeader header = ingot::GgufHeader::parse(
        {reinterpret_cast<const std::byte*>(data) + 1 + text_size, size - 1 - text_size});
    const auto tokenizer = ingot::runtime::Tokenizer::from_header(header);
    round_trip(*tokenizer, text);
    round_trip(
        *tokenizer,
        "It's 1,234 dogs\r\n\t and l'\xC3\xA9t\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80\xFF <s>");
    return 0;
} catch (const ingot::Error&) {
    return 0;
}

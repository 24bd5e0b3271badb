#include "runtime/tokenizer/charsmap.h"

#include <cstring>

#include "format/error.h"

namespace ingot::runtime {
namespace {

uint32_t label(uint32_t unit) {
    return unit & (uint32_t(1) << 31 | 0xff);
}
uint32_t offset(uint32_t unit) {
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}
bool has_value(uint32_t unit) {
    return (unit >> 8) & 1;
}

}  // namespace

Charsmap::Charsmap(std::span<const uint8_t> bytes) {
    if (bytes.empty()) return;
    uint32_t trie_bytes = 0;
    if (bytes.size() >= 4) std::memcpy(&trie_bytes, bytes.data(), 4);
    if (bytes.size() < 4 || trie_bytes % 4 != 0 || trie_bytes < 4 || trie_bytes > bytes.size() - 4) {
        fail(
            "tokenizer.ggml.precompiled_charsmap claims a trie of {} bytes in {}; the file is damaged, "
            "convert the model again",
            trie_bytes, bytes.size());
    }
    units_.resize(trie_bytes / 4);
    std::memcpy(units_.data(), bytes.data() + 4, trie_bytes);
    texts_ = {reinterpret_cast<const char*>(bytes.data()) + 4 + trie_bytes, bytes.size() - 4 - trie_bytes};
}

std::optional<Charsmap::Match> Charsmap::find(std::string_view text, bool shortest) const {
    std::optional<Match> found;
    if (units_.empty()) return found;
    size_t state = offset(units_[0]);
    for (size_t i = 0; i < text.size(); ++i) {
        const uint8_t byte = uint8_t(text[i]);
        if (byte == 0) break;
        state ^= byte;
        if (state >= units_.size() || label(units_[state]) != byte) break;
        const uint32_t unit = units_[state];
        state ^= offset(unit);
        if (!has_value(unit)) continue;
        if (state >= units_.size()) break;
        const size_t begin = units_[state] & 0x7fffffff;
        const size_t end = begin < texts_.size() ? texts_.find('\0', begin) : std::string_view::npos;
        if (end == std::string_view::npos) {
            fail("tokenizer.ggml.precompiled_charsmap points outside of its texts; the file is damaged");
        }
        found = Match{i + 1, texts_.substr(begin, end - begin)};
        if (shortest) break;
    }
    return found;
}

}  // namespace ingot::runtime

#include "format/utf8.h"

#include <cstring>

namespace ingot {

Utf8Step utf8_step(std::string_view text) {
    const auto byte = [&](size_t i) { return i < text.size() ? uint8_t(text[i]) : uint8_t(0); };
    const uint8_t lead = byte(0);
    if (lead < 0x80) return {lead, 1, true};

    // The second byte's range is what excludes over-long forms, surrogates and values above U+10FFFF.
    uint8_t length = 0, low = 0x80, high = 0xbf;
    char32_t code_point = 0;
    if (lead >= 0xc2 && lead <= 0xdf) {
        length = 2, code_point = lead & 0x1f;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        length = 3, code_point = lead & 0x0f;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        length = 4, code_point = lead & 0x07;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return {0xfffd, 1, false};
    }
    for (uint8_t i = 1; i < length; ++i) {
        if (byte(i) < low || byte(i) > high) return {0xfffd, i, false};
        code_point = code_point << 6 | (byte(i) & 0x3f);
        low = 0x80, high = 0xbf;
    }
    return {code_point, length, true};
}

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        uint64_t word = 0x80;
        if (text.size() >= sizeof word) std::memcpy(&word, text.data(), sizeof word);
        if ((word & 0x8080808080808080) == 0) {  // eight ASCII characters, as in most names
            text.remove_prefix(sizeof word);
            continue;
        }
        const Utf8Step step = utf8_step(text);
        if (!step.valid) return false;
        text.remove_prefix(step.length_bytes);
    }
    return true;
}

}  // namespace ingot

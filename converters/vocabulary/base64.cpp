#include "converters/vocabulary/base64.h"

#include <algorithm>

namespace ingot::converters {
namespace {

int value_of(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : -1;
}

}  // namespace

std::optional<std::vector<uint8_t>> decode_base64(std::string_view text) {
    for (int n = 0; n < 2 && text.ends_with('='); ++n) text.remove_suffix(1);
    if (text.size() % 4 == 1) return {};
    std::vector<uint8_t> bytes;
    bytes.reserve(text.size() / 4 * 3 + 2);
    uint32_t bits = 0;
    int n_bits = 0;
    for (const char c : text) {
        const int value = value_of(c);
        if (value < 0) return {};
        bits = (bits << 6 | uint32_t(value)) & 0xffffff;
        n_bits += 6;
        if (n_bits >= 8) bytes.push_back(uint8_t(bits >> (n_bits -= 8)));
    }
    return bytes;
}

std::string encode_base64(std::string_view bytes) {
    constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(3, bytes.size()))) {
        uint32_t bits = 0;  // of three bytes, the missing ones zero
        for (size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < bytes.size() ? uint8_t(bytes[i]) : 0);
        for (size_t i = 0; i < 4; ++i) text += i <= bytes.size() ? kDigits[bits >> (18 - 6 * i) & 63] : '=';
    }
    return text;
}

}  // namespace ingot::converters

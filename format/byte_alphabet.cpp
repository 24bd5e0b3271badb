#include "format/byte_alphabet.h"

#include <array>

#include "format/utf8.h"

namespace ingot {
namespace {

struct Alphabet {
    std::array<int16_t, 324> bytes{};         // of a character; -1: none
    std::array<std::string, 256> characters;  // of a byte, as UTF-8

    Alphabet() {
        bytes.fill(-1);
        int16_t next = 256;
        for (int16_t byte = 0; byte < 256; ++byte) {
            const bool printable =
                (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
            const int16_t character = printable ? byte : next++;
            bytes[size_t(character)] = byte;
            std::string& text = characters[size_t(byte)];
            if (character >= 0x80) text += char(0xc0 | (character >> 6));
            text += char(character >= 0x80 ? 0x80 | (character & 0x3f) : character);
        }
    }
};

const Alphabet& alphabet() {
    static const Alphabet instance;
    return instance;
}

}  // namespace

void append_in_alphabet(std::string& output, std::string_view text) {
    for (const char c : text) output += alphabet().characters[uint8_t(c)];
}

void append_from_alphabet(std::string& output, std::string_view text) {
    const auto& bytes = alphabet().bytes;
    while (!text.empty()) {
        const Utf8Step step = utf8_step(text);
        const bool known = step.valid && step.code_point < bytes.size() && bytes[step.code_point] >= 0;
        if (known) {
            output += char(bytes[step.code_point]);
        } else {
            output += text.substr(0, step.length_bytes);
        }
        text.remove_prefix(step.length_bytes);
    }
}

}  // namespace ingot

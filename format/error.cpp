#include "format/error.h"

namespace ingot {

std::string grouped(uint64_t number) {
    std::string text = std::to_string(number);
    for (size_t digits = 3; digits < text.size(); digits += 4) text.insert(text.size() - digits, 1, ',');
    return text;
}

std::string printable(std::string_view name) {
    constexpr size_t kLongest = 100;  // bytes
    size_t shown = name.size();
    if (shown > kLongest) {
        shown = kLongest;
        while (shown > 0 && (uint8_t(name[shown]) & 0xc0) == 0x80) --shown;  // not inside a UTF-8 sequence
    }
    std::string text;
    for (const char character : name.substr(0, shown)) {
        const uint8_t byte = uint8_t(character);
        if (byte < 0x20 || byte == 0x7f) {
            text += fmt::format("\\x{:02x}", byte);
        } else {
            text += character;
        }
    }
    if (shown < name.size()) text += fmt::format("... ({} bytes)", grouped(name.size()));
    return text;
}

}  // namespace ingot

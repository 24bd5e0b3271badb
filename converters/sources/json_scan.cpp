#include "converters/sources/json_scan.h"

#include <algorithm>

namespace ingot::converters {

JsonScan scan_json(std::string_view text) {
    JsonScan scan;
    uint64_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') ++i;  // whatever is escaped does not end the string
            if (c == '"') in_string = false;
            continue;
        }
        switch (c) {
            case '"':
                in_string = true;
                break;
            case '{':
            case '[':
                ++scan.n_structurals;
                scan.depth = std::max(scan.depth, ++depth);
                break;
            case '}':
            case ']':
                ++scan.n_structurals;
                depth -= depth > 0;
                break;
            case ',':
            case ':':
                ++scan.n_structurals;
                break;
            default:
                break;
        }
    }
    return scan;
}

}  // namespace ingot::converters

#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ingot::converters {

/// The bytes; nothing when `text` is not base64 (RFC 4648, section 4; the padding may be missing).
std::optional<std::vector<uint8_t>> decode_base64(std::string_view text);
/// With padding.
std::string encode_base64(std::string_view bytes);

}  // namespace ingot::converters

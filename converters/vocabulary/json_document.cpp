#include "converters/vocabulary/json_document.h"

#include <algorithm>
#include <unordered_set>

#include "format/error.h"

namespace ingot::converters {
namespace {

constexpr size_t kMaxFileBytes = size_t(256) << 20;
constexpr size_t kMaxDepth = 64;

/// Readers disagree about which of two equal keys counts. The depth was bounded by the parser.
void check_keys(dom::element element, const std::string& file) {
    dom::array array;
    dom::object object;
    if (!element.get(array)) {
        for (const dom::element each : array) check_keys(each, file);
    } else if (!element.get(object)) {
        std::unordered_set<std::string_view> seen;
        for (const auto& [key, value] : object) {
            if (!seen.insert(key).second)
                fail("{}: the key \"{}\" appears twice in one object; remove one of them", file, key);
            check_keys(value, file);
        }
    }
}

}  // namespace

VocabularyFile::VocabularyFile(const std::string& path) : mapped_(path) {
    const size_t size_bytes = mapped_.bytes().size();
    if (size_bytes > kMaxFileBytes)
        fail("{}: {} bytes is too large for a tokenizer (at most {})", path, size_bytes, kMaxFileBytes);
}

std::string_view VocabularyFile::text() const {
    const auto bytes = mapped_.bytes();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

JsonDocument::JsonDocument(std::string_view text, const std::string& file) {
    const simdjson::padded_string padded(text);
    simdjson::error_code error = parser_.allocate(std::max<size_t>(text.size(), 64), kMaxDepth);
    if (!error) error = parser_.parse(padded).get(root_);
    if (error == simdjson::DEPTH_ERROR) fail("{}: nested deeper than {} levels", file, kMaxDepth);
    if (error) fail("{}: not valid JSON ({})", file, simdjson::error_message(error));
    check_keys(root_, file);
}

uint32_t read_token_id(dom::element value, std::string_view token_text, const std::string& file) {
    uint64_t id = 0;
    if (value.get(id) || id > INT32_MAX)
        fail("{}: the id of token \"{}\" is not a whole number from 0 to {}", file, token_text, INT32_MAX);
    return uint32_t(id);
}

}  // namespace ingot::converters

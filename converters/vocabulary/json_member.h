#pragma once
// Lookups in a parsed tokenizer.json. What is absent, null or of another kind counts as not there.
#include <simdjson.h>

#include <optional>
#include <string_view>

namespace ingot::converters {

namespace dom = simdjson::dom;

inline std::optional<dom::element> member(dom::element element, std::string_view key) {
    dom::element found;
    if (element.at_key(key).get(found) || found.is_null()) return {};
    return found;
}
inline std::string_view text_of(dom::element element, std::string_view key) {
    const auto found = member(element, key);
    std::string_view text;
    if (!found || found->get(text)) return {};
    return text;
}
inline bool flag_of(dom::element element, std::string_view key, bool otherwise) {
    const auto found = member(element, key);
    bool flag;
    return !found || found->get(flag) ? otherwise : flag;
}
inline std::optional<uint64_t> number_of(dom::element element, std::string_view key) {
    const auto found = member(element, key);
    uint64_t number;
    if (!found || found->get(number)) return {};
    return number;
}
template <typename Use>
void for_each(dom::element element, std::string_view key, const Use& use) {
    const auto found = member(element, key);
    dom::array array;
    if (!found || found->get(array)) return;
    for (const dom::element each : array) use(each);
}

}  // namespace ingot::converters

// Metadata that changed, as text for people.
#include "cli/diff_view.h"

#include <algorithm>

#include "inspect/value_text.h"

namespace ingot::cli {

using inspect::escaped;
using inspect::KeyDifference;

namespace {

std::string short_text(const Value& value, size_t columns) {
    return inspect::value_text(value, {.max_text_columns = columns, .max_elements = 4});
}

}  // namespace

bool are_like_arrays(const KeyDifference& key) {
    return key.a && key.b && key.a->type() == ValueType::Array && key.b->type() == ValueType::Array &&
           key.a->element_type() == key.b->element_type();
}

namespace {

std::string element_text(const Value& array, uint64_t index, size_t columns) {
    uint64_t i = 0;
    for (const Value element : array.elements())
        if (i++ == index) return short_text(element, columns);
    return "nothing";
}

/// Where two long texts begin to differ, from a few characters before that on.
std::string around(std::string_view text, size_t at, size_t columns) {
    constexpr size_t kBefore = 12;  // bytes
    size_t begin = at > kBefore ? at - kBefore : 0;
    while (begin > 0 && (uint8_t(text[begin]) & 0xc0) == 0x80) --begin;  // not inside a character
    return (begin > 0 ? "…" : "") + escaped(text.substr(begin), columns);
}

std::string change_text(const KeyDifference& key, size_t columns) {
    if (are_like_arrays(key)) {
        const uint64_t at = inspect::first_difference(*key.a, *key.b);
        return fmt::format("{} and {} elements; element {}: {} → {}", grouped(key.a->count()),
                           grouped(key.b->count()), grouped(at), element_text(*key.a, at, columns / 3),
                           element_text(*key.b, at, columns / 3));
    }
    std::string types;
    if (key.a->type() != key.b->type()) {
        types = fmt::format(" ({} → {})", inspect::type_text(*key.a), inspect::type_text(*key.b));
    } else if (key.a->type() == ValueType::String) {
        const std::string_view a = key.a->as_string(), b = key.b->as_string();
        const auto at = size_t(std::ranges::mismatch(a, b).in1 - a.begin());
        if (a.size() > columns / 2 || b.size() > columns / 2) {
            return fmt::format("{} and {} bytes; from byte {}: {} → {}", grouped(a.size()), grouped(b.size()),
                               grouped(at), around(a, std::min(at, a.size()), columns / 3),
                               around(b, std::min(at, b.size()), columns / 3));
        }
    }
    return fmt::format("{} → {}{}", short_text(*key.a, columns / 2), short_text(*key.b, columns / 2), types);
}

}  // namespace

std::string key_changes_view(std::span<const KeyDifference> keys, uint64_t n_same, const Painter& paint,
                             size_t columns) {
    size_t n_removed = 0, n_added = 0;
    Table table({{""}, {"", Table::kLeft, Tone::Key}, {""}});
    for (const KeyDifference& key : keys) {
        const size_t value_columns = columns > 60 ? columns - 50 : 30;
        n_removed += !key.b;
        n_added += !key.a;
        if (!key.b) {
            table.add({"-", escaped(key.key), short_text(*key.a, value_columns)});
            table.tint(0, Tone::Bad);
        } else if (!key.a) {
            table.add({"+", escaped(key.key), short_text(*key.b, value_columns)});
            table.tint(0, Tone::Good);
        } else {
            table.add({"~", escaped(key.key), change_text(key, value_columns)});
            table.tint(0, Tone::Warning);
        }
    }
    return fmt::format("{}: {} the same, {} changed, {} only in the first, {} only in the second\n",
                       paint(Tone::Heading, "metadata"), grouped(n_same), keys.size() - n_removed - n_added,
                       n_removed, n_added) +
           table.text(paint);
}

}  // namespace ingot::cli

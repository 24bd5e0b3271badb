#pragma once
#include <string_view>

namespace ingot::runtime {

inline constexpr std::string_view kSpaceMark = "\u2581";  // ▁, which stands for a space

/// Where the word that starts at `begin` ends: after its leading run of ▁ and everything up to the next ▁.
inline size_t word_end(std::string_view text, size_t begin) {
    while (text.substr(begin).starts_with(kSpaceMark)) begin += kSpaceMark.size();
    const size_t end = text.find(kSpaceMark, begin);
    return end == std::string_view::npos ? text.size() : end;
}

}  // namespace ingot::runtime

#include "converters/architectures/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "converters/architectures/tables.h"

namespace ingot::converters {

std::span<const Family* const> families() {
    static constexpr const Family* kFamilies[] = {&kLlama, &kMistral, &kQwen2};
    return kFamilies;
}

const Family* find_family(std::string_view class_name) {
    for (const Family* family : families()) {
        if (std::ranges::find(family->classes, class_name) != family->classes.end()) return family;
    }
    return nullptr;
}

std::string supported_classes() {
    std::vector<std::string_view> names;
    for (const Family* family : families())
        names.insert(names.end(), family->classes.begin(), family->classes.end());
    return fmt::format("{}", fmt::join(names, ", "));
}

std::span<const std::string_view> unneeded_suffixes() {
    static constexpr std::string_view kSuffixes[] = {
        ".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".attn.bias",
        ".attn.masked_bias",    ".self_attn.bias",        ".attention.bias",        ".attention.masked_bias",
    };
    return kSuffixes;
}

std::string with_layer(std::string_view pattern, uint64_t layer) {
    std::string name(pattern);
    const size_t at = name.find("{bid}");
    if (at != std::string::npos) name.replace(at, 5, std::to_string(layer));
    return name;
}

}  // namespace ingot::converters

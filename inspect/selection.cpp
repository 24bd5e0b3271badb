#include "inspect/selection.h"

#include <algorithm>
#include <charconv>
#include <map>

namespace ingot::inspect {

namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// The digits in front of `text`, less leading zeros.
std::string_view take_digits(std::string_view& text) {
    size_t end = 0;
    while (end < text.size() && is_digit(text[end])) ++end;
    std::string_view digits = text.substr(0, end);
    text.remove_prefix(end);
    digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
    return digits;
}

}  // namespace

bool Selection::has(const TensorInfo& tensor) const {
    if (!types.empty() && std::ranges::find(types, tensor.type) == types.end()) return false;
    return !match || match->matches(tensor.name);
}

bool counts_before(std::string_view a, std::string_view b) {
    while (!a.empty() && !b.empty()) {
        if (is_digit(a[0]) && is_digit(b[0])) {
            const std::string_view x = take_digits(a), y = take_digits(b);
            if (x.size() != y.size()) return x.size() < y.size();
            if (x != y) return x < y;
        } else {
            if (a[0] != b[0]) return uint8_t(a[0]) < uint8_t(b[0]);
            a.remove_prefix(1);
            b.remove_prefix(1);
        }
    }
    return a.size() < b.size();
}

std::vector<const TensorInfo*> select(const GgufHeader& header, const Selection& selection) {
    std::vector<const TensorInfo*> selected;
    for (const TensorInfo& tensor : header.tensors())
        if (selection.has(tensor)) selected.push_back(&tensor);
    const auto sort = [&](const auto& before) {
        std::ranges::stable_sort(selected, [&](const TensorInfo* a, const TensorInfo* b) {
            return selection.reverse ? before(*b, *a) : before(*a, *b);
        });
    };
    switch (selection.order) {
        case Order::File:
            if (selection.reverse) std::ranges::reverse(selected);
            break;
        case Order::Name:
            sort([](const auto& a, const auto& b) { return counts_before(a.name, b.name); });
            break;
        case Order::Size:
            sort([](const auto& a, const auto& b) { return a.size_bytes > b.size_bytes; });
            break;
        case Order::Type:
            sort([](const auto& a, const auto& b) {
                const double x = info(a.type).bits_per_element(), y = info(b.type).bits_per_element();
                return x != y ? x > y : a.type < b.type;
            });
            break;
    }
    return selected;
}

std::optional<uint64_t> block_of(std::string_view tensor) {
    constexpr std::string_view kPrefix = "blk.";
    if (!tensor.starts_with(kPrefix)) return {};
    tensor.remove_prefix(kPrefix.size());
    uint64_t block = 0;
    const auto [end, error] = std::from_chars(tensor.data(), tensor.data() + tensor.size(), block);
    if (error != std::errc() || end == tensor.data() + tensor.size() || *end != '.') return {};
    return block;
}

std::vector<BlockShare> shares_by_block(std::span<const TensorInfo* const> tensors) {
    std::map<uint64_t, std::vector<const TensorInfo*>> by_block;
    std::vector<const TensorInfo*> others;
    for (const TensorInfo* tensor : tensors) {
        const auto block = block_of(tensor->name);
        (block ? by_block[*block] : others).push_back(tensor);
    }
    std::vector<BlockShare> shares;
    const auto add = [&](std::optional<uint64_t> block, const std::vector<const TensorInfo*>& members) {
        BlockShare share{.block = block, .types = shares_by_type(members)};
        for (const TypeShare& type : share.types) {
            share.n_tensors += type.n_tensors;
            share.n_elements += type.n_elements;
            share.size_bytes += type.size_bytes;
        }
        shares.push_back(std::move(share));
    };
    for (const auto& [block, members] : by_block) add(block, members);
    if (!others.empty()) add({}, others);
    return shares;
}

}  // namespace ingot::inspect

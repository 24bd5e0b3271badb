#include "format/name_pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <numeric>

#include "format/error.h"

namespace ingot {
namespace {

constexpr uint32_t kMaxSteps = 1'000'000;
constexpr size_t kMaxPatternBytes = 4096;

using MatchContext = std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)>;
using MatchData = std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)>;

std::string explain(int error) {
    PCRE2_UCHAR text[128] = {};
    pcre2_get_error_message(error, text, sizeof text);
    return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR units(std::string_view text) {
    return reinterpret_cast<PCRE2_SPTR>(text.data());
}

}  // namespace

struct NamePattern::Compiled {
    std::unique_ptr<pcre2_code, decltype(&pcre2_code_free)> code{nullptr, pcre2_code_free};
};

NamePattern::NamePattern(std::string_view pattern) : text_(pattern), compiled_(new Compiled) {
    if (pattern.empty()) fail("an empty regular expression; name the tensors it is for");
    if (pattern.size() > kMaxPatternBytes)
        fail("a regular expression of {} bytes; expected at most {}", pattern.size(), kMaxPatternBytes);
    int error = 0;
    PCRE2_SIZE offset = 0;
    compiled_->code.reset(
        pcre2_compile(units(pattern), pattern.size(), PCRE2_NEVER_BACKSLASH_C, &error, &offset, nullptr));
    if (!compiled_->code)
        fail("'{}' is no regular expression: {} at byte {}", printable(pattern), explain(error), offset);
}

NamePattern::~NamePattern() = default;
NamePattern::NamePattern(NamePattern&&) noexcept = default;

bool NamePattern::matches(std::string_view name) const {
    const MatchContext context(pcre2_match_context_create(nullptr), pcre2_match_context_free);
    const MatchData data(pcre2_match_data_create(1, nullptr), pcre2_match_data_free);
    if (!context || !data) throw std::bad_alloc();
    pcre2_set_match_limit(context.get(), kMaxSteps);
    const int found =
        pcre2_match(compiled_->code.get(), units(name), name.size(), 0, 0, data.get(), context.get());
    if (found == PCRE2_ERROR_NOMATCH) return false;
    if (found < 0)
        fail("regular expression '{}' on {}: {}", printable(text_), printable(name), explain(found));
    return true;
}

size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> row(b.size() + 1);  // distances of the prefix of `a` so far to every prefix of `b`
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 0; i < a.size(); ++i) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b.size(); ++j) {
            const size_t replaced = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
        }
    }
    return row.back();
}

std::string without_layer(std::string_view name) {
    constexpr std::string_view kPrefix = "blk.";
    if (!name.starts_with(kPrefix)) return std::string(name);
    const size_t end = name.find_first_not_of("0123456789", kPrefix.size());
    if (end == kPrefix.size() || end == name.npos) return std::string(name);
    return "blk.*" + std::string(name.substr(end));
}

std::vector<std::string> nearest_names(std::string_view wanted, std::span<const std::string_view> names,
                                       size_t n_wanted) {
    // Both without layers, and the pattern without what only regular expressions have.
    std::string plain;
    for (const char c : without_layer(wanted))
        if (std::string_view("\\^$()[]{}|?+").find(c) == std::string_view::npos) plain += c;
    std::vector<std::pair<size_t, std::string>> all;  // distance, name
    for (const std::string_view name : names) {
        std::string group = without_layer(name);
        size_t nearest = edit_distance(plain, group);
        // "attn_vv" is near to "blk.*.attn_v.weight": a part of the name may be meant.
        for (size_t begin = 0; begin <= group.size();) {
            const size_t end = std::min(group.find('.', begin), group.size());
            nearest =
                std::min(nearest, edit_distance(plain, std::string_view(group).substr(begin, end - begin)));
            begin = end + 1;
        }
        all.emplace_back(nearest, std::move(group));
    }
    std::ranges::sort(all);
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::vector<std::string> result;
    for (size_t i = 0; i < std::min(n_wanted, all.size()); ++i) result.push_back(std::move(all[i].second));
    return result;
}

}  // namespace ingot

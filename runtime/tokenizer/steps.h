#pragma once
// The declarative notation of normalizers, pre-tokenizers and decoders (SPEC.md, section 3).
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

namespace ingot::runtime {

/// One step: its name, then its arguments, each after a TAB. The last argument reaches to the end of the text
/// and may hold anything, TABs too.
struct Step {
    static constexpr size_t kMaxArguments = 3;

    std::string_view name;
    std::array<std::string_view, kMaxArguments> arguments;
    std::string_view text;  // all of it, for messages

    /// `n_arguments` says how many the step of that name takes; nothing for a name that is not known.
    template <typename Count>
    static Step parse(std::string_view text, const Count& n_arguments) {
        const size_t tab = std::min(text.find('\t'), text.size());
        Step step{text.substr(0, tab), {}, text};
        const int n = n_arguments(step.name);
        if (n < 0) step.unknown();
        std::string_view rest = text.substr(std::min(tab + 1, text.size()));
        if ((n == 0) != (tab == text.size())) step.malformed();
        for (int i = 0; i < n; ++i) {
            const size_t end = i + 1 == n ? rest.size() : rest.find('\t');
            if (end == std::string_view::npos) step.malformed();
            step.arguments[size_t(i)] = rest.substr(0, end);
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        return step;
    }

    [[noreturn]] void unknown() const;
    [[noreturn]] void malformed() const;
};

}  // namespace ingot::runtime

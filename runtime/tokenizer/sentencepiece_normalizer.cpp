#include "runtime/tokenizer/sentencepiece_normalizer.h"

#include "format/utf8.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kSpace = "\u2581";        // ▁
constexpr std::string_view kReplacement = "\ufffd";  // for each byte that is no UTF-8

/// What the front of `text` becomes, and how many of its bytes that is.
struct Mapped {
    std::string_view replacement;
    size_t length;
};

Mapped map_front(std::string_view text, const Charsmap& charsmap, const Trie* user_defined) {
    if (user_defined != nullptr && !user_defined->empty()) {
        size_t longest = 0;
        int32_t state = Trie::kRoot;
        for (size_t i = 0; i < text.size(); ++i) {
            state = user_defined->next(state, uint8_t(text[i]));
            if (state == Trie::kNone) break;
            if (user_defined->value(state) != Trie::kNone) longest = i + 1;
        }
        if (longest > 0) return {text.substr(0, longest), longest};
    }
    if (const auto match = charsmap.longest(text)) return {match->replacement, match->length};
    const Utf8Step step = utf8_step(text);
    if (!step.valid) return {kReplacement, 1};
    return {text.substr(0, step.length_bytes), step.length_bytes};
}

}  // namespace

SentencePieceOptions SentencePieceOptions::parse(const Step& step) {
    SentencePieceOptions options;
    std::string_view words = step.arguments[0];
    while (!words.empty()) {
        const size_t end = std::min(words.find(' '), words.size());
        const std::string_view word = words.substr(0, end);
        if (word == "prefix") {
            options.prefix = true;
        } else if (word == "suffix") {
            options.suffix = true;
        } else if (word == "collapse") {
            options.collapse = true;
        } else if (word == "keep_spaces") {
            options.keep_spaces = true;
        } else if (word != "-") {
            step.malformed();
        }
        words.remove_prefix(std::min(end + 1, words.size()));
    }
    return options;
}

void append_sentencepiece_normalized(std::string& output, std::string_view text,
                                     const SentencePieceOptions& options, const Charsmap& charsmap,
                                     const Trie* user_defined) {
    const std::string_view space = options.keep_spaces ? std::string_view(" ") : kSpace;
    if (options.collapse) {
        while (!text.empty()) {
            const Mapped front = map_front(text, charsmap, user_defined);
            if (front.replacement != " ") break;
            text.remove_prefix(front.length);
        }
    }
    if (text.empty()) return;
    const size_t begin = output.size();
    if (options.prefix) output += space;
    bool after_space = options.collapse;
    while (!text.empty()) {
        auto [replacement, length] = map_front(text, charsmap, user_defined);
        while (after_space && replacement.starts_with(' ')) replacement.remove_prefix(1);
        for (const char c : replacement) {
            if (c == ' ') {
                output += space;
            } else {
                output += c;
            }
        }
        if (!replacement.empty()) after_space = options.collapse && replacement.ends_with(' ');
        text.remove_prefix(length);
    }
    if (options.collapse) {
        while (output.size() - begin >= space.size() && output.ends_with(space))
            output.erase(output.size() - space.size());
    }
    if (options.suffix) output += space;
}

}  // namespace ingot::runtime

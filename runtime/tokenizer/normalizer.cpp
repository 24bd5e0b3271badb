#include "runtime/tokenizer/normalizer.h"

#include <optional>

#include "format/byte_alphabet.h"
#include "format/error.h"
#include "format/utf8.h"
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/sentencepiece_normalizer.h"
#include "runtime/tokenizer/steps.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {

struct Normalizer::Compiled {
    using Apply = void (*)(const Compiled&, std::string_view text, std::string& output);

    std::string notation;
    Step step;
    Tables tables;
    Apply apply = nullptr;
    std::optional<Regex> regex;  // replace
    std::string literal;         // replace, where the pattern is one
    bool left = false, right = false;
    SentencePieceOptions sentencepiece;
};

namespace {

using Compiled = Normalizer::Compiled;

/// Calls use(code point, its bytes) for each character; bytes that are no UTF-8 are copied.
template <typename Use>
void for_each_character(std::string_view text, std::string& output, const Use& use) {
    while (!text.empty()) {
        const Utf8Step step = utf8_step(text);
        const std::string_view bytes = text.substr(0, step.length_bytes);
        if (step.valid) {
            use(step.code_point, bytes);
        } else {
            output += bytes;
        }
        text.remove_prefix(step.length_bytes);
    }
}

template <NormalForm form>
void unicode_form(const Compiled&, std::string_view text, std::string& output) {
    append_normalized(output, text, form);
}

void lowercase(const Compiled&, std::string_view text, std::string& output) {
    for_each_character(text, output, [&](char32_t c, std::string_view) { append_lower(output, c); });
}

template <bool (*unwanted)(char32_t)>
void remove_characters(const Compiled&, std::string_view text, std::string& output) {
    for_each_character(text, output, [&](char32_t c, std::string_view bytes) {
        if (c < 0x80 || !unwanted(c)) output += bytes;
    });
}

void strip(const Compiled& step, std::string_view text, std::string& output) {
    size_t begin = 0, end = text.size();
    while (step.left && begin < end) {
        const Utf8Step next = utf8_step(text.substr(begin));
        if (!next.valid || !is_white_space(next.code_point)) break;
        begin += next.length_bytes;
    }
    while (step.right && end > begin) {
        size_t at = end - 1;
        while (at > begin && (uint8_t(text[at]) & 0xc0) == 0x80) --at;
        const Utf8Step last = utf8_step(text.substr(at, end - at));
        if (!last.valid || at + last.length_bytes != end || !is_white_space(last.code_point)) break;
        end = at;
    }
    output += text.substr(begin, end - begin);
}

void replace_literal(const Compiled& step, std::string_view text, std::string& output) {
    for (size_t at = 0; at < text.size();) {
        const size_t found = std::min(text.find(step.literal, at), text.size());
        output += text.substr(at, found - at);
        if (found == text.size()) break;
        output += step.step.arguments[1];
        at = found + step.literal.size();
    }
}

void replace_pattern(const Compiled& step, std::string_view text, std::string& output) {
    Regex::Match match;
    while (!text.empty()) {
        // Up to the next byte that is no UTF-8.
        size_t n_valid = 0;
        while (n_valid < text.size()) {
            const Utf8Step next = utf8_step(text.substr(n_valid));
            if (!next.valid) break;
            n_valid += next.length_bytes;
        }
        const std::string_view subject = text.substr(0, n_valid);
        size_t copied = 0;
        for (size_t from = 0; from <= subject.size() && step.regex->find(subject, from, match);) {
            const size_t begin = match.begin(), end = match.end();
            output += subject.substr(copied, begin - copied);
            output += step.step.arguments[1];
            copied = from = end;
            if (end == begin) {
                if (end == subject.size()) break;
                from += utf8_step(subject.substr(end)).length_bytes;
            }
        }
        output += subject.substr(copied);
        const size_t n_bad = n_valid < text.size() ? 1 : 0;
        output += text.substr(n_valid, n_bad);
        text.remove_prefix(n_valid + n_bad);
    }
}

void prepend(const Compiled& step, std::string_view text, std::string& output) {
    if (!text.empty()) output += step.step.arguments[0];
    output += text;
}

/// BERT's: no control characters, every white space is a space.
void clean_text(const Compiled&, std::string_view text, std::string& output) {
    for_each_character(text, output, [&](char32_t c, std::string_view bytes) {
        if (c == 0 || c == 0xfffd || was_control_or_format(c)) return;
        if (is_white_space(c)) {
            output += ' ';
        } else {
            output += bytes;
        }
    });
}

void space_han(const Compiled&, std::string_view text, std::string& output) {
    for_each_character(text, output, [&](char32_t c, std::string_view bytes) {
        const bool apart = c >= 0x3400 && is_han(c);
        if (apart) output += ' ';
        output += bytes;
        if (apart) output += ' ';
    });
}

/// What was done to the data of the first translation models (Moses, "nmt").
void nmt(const Compiled&, std::string_view text, std::string& output) {
    for_each_character(text, output, [&](char32_t c, std::string_view bytes) {
        const bool removed = (c >= 1 && c <= 8) || c == 0x0b || (c >= 0x0e && c <= 0x1f) || c == 0x7f ||
                             c == 0x8f || c == 0x9f;
        const bool space = c == 0x09 || c == 0x0a || c == 0x0c || c == 0x0d || c == 0x1680 ||
                           (c >= 0x200b && c <= 0x200f) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                           c == 0xfeff || c == 0xfffd;
        if (removed) return;
        if (space) {
            output += ' ';
        } else {
            output += bytes;
        }
    });
}

/// As Hugging Face's library applies the map: to whole grapheme clusters of fewer than 6 bytes, else to each
/// character, and of several entries the shortest counts.
void charsmap_graphemes(const Compiled& step, std::string_view text, std::string& output) {
    const Charsmap& map = *step.tables.charsmap;
    while (!text.empty()) {
        const std::string_view cluster = text.substr(0, grapheme_length(text));
        text.remove_prefix(cluster.size());
        if (cluster.size() < 6) {
            if (const auto match = map.shortest(cluster)) {
                output += match->replacement;
                continue;
            }
        }
        for (std::string_view rest = cluster; !rest.empty();) {
            const std::string_view character = rest.substr(0, utf8_step(rest).length_bytes);
            const auto match = map.shortest(character);
            output += match ? match->replacement : character;
            rest.remove_prefix(character.size());
        }
    }
}

void sentencepiece(const Compiled& step, std::string_view text, std::string& output) {
    append_sentencepiece_normalized(output, text, step.sentencepiece, *step.tables.charsmap,
                                    step.tables.user_defined);
}

void byte_level(const Compiled&, std::string_view text, std::string& output) {
    append_in_alphabet(output, text);
}

struct Known {
    std::string_view name;
    int n_arguments;
    Compiled::Apply apply;
};
constexpr Known kKnown[] = {
    {"nfc", 0, unicode_form<NormalForm::C>},
    {"nfd", 0, unicode_form<NormalForm::D>},
    {"nfkc", 0, unicode_form<NormalForm::KC>},
    {"nfkd", 0, unicode_form<NormalForm::KD>},
    {"lowercase", 0, lowercase},
    {"strip", 1, strip},
    {"strip_marks", 0, remove_characters<was_mark>},
    {"strip_nonspacing_marks", 0, remove_characters<was_nonspacing_mark>},
    {"replace", 2, replace_literal},
    {"prepend", 1, prepend},
    {"clean_text", 0, clean_text},
    {"space_han", 0, space_han},
    {"nmt", 0, nmt},
    {"charsmap", 0, charsmap_graphemes},
    {"sentencepiece", 1, sentencepiece},
    {"byte_level", 0, byte_level},
};

const Known* find_known(std::string_view name) {
    for (const Known& known : kKnown) {
        if (known.name == name) return &known;
    }
    return nullptr;
}

std::unique_ptr<Compiled> compile(const std::string& notation, Normalizer::Tables tables) {
    auto compiled = std::make_unique<Compiled>();
    compiled->notation = notation;
    compiled->step = Step::parse(compiled->notation, [](std::string_view name) {
        const Known* known = find_known(name);
        return known ? known->n_arguments : -1;
    });
    compiled->tables = tables;
    const Step& step = compiled->step;
    compiled->apply = find_known(step.name)->apply;
    if (step.name == "replace" && !is_literal_pattern(step.arguments[0], compiled->literal)) {
        compiled->regex.emplace(step.arguments[0]);
        compiled->apply = replace_pattern;
    } else if (step.name == "strip") {
        compiled->left = step.arguments[0] != "right";
        compiled->right = step.arguments[0] != "left";
        if (compiled->left && compiled->right && step.arguments[0] != "both") step.malformed();
    } else if (step.name == "sentencepiece") {
        compiled->sentencepiece = SentencePieceOptions::parse(step);
    } else if (step.name == "charsmap" && tables.charsmap->empty()) {
        fail(
            "the file's tokenizer has a step 'charsmap', but tokenizer.ggml.precompiled_charsmap is missing");
    }
    return compiled;
}

}  // namespace

Normalizer::Normalizer(std::span<const std::string> steps, Tables tables) {
    for (const std::string& step : steps) steps_.push_back(compile(step, tables));
}

Normalizer::~Normalizer() = default;

std::string Normalizer::apply(std::string_view text) const {
    std::string current(text), next;
    for (const auto& step : steps_) {
        next.clear();
        next.reserve(current.size() + current.size() / 8 + 16);
        step->apply(*step, current, next);
        current.swap(next);
    }
    return current;
}

}  // namespace ingot::runtime

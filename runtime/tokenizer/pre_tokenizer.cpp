#include "runtime/tokenizer/pre_tokenizer.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "format/byte_alphabet.h"
#include "format/error.h"
#include "format/utf8.h"
#include "runtime/tokenizer/regex.h"
#include "runtime/tokenizer/steps.h"

namespace ingot::runtime {

using Range = PreTokenizer::Range;
using Pieces = PreTokenizer::Pieces;

namespace {

/// What becomes of the matches of a pattern and of what lies between them.
enum class Behavior {
    Isolated,            // both are pieces
    Removed,             // matches go
    Contiguous,          // as isolated, but matches side by side are one piece
    MergedWithPrevious,  // a match ends the piece before it
    MergedWithNext,      // a match begins the piece after it
};
constexpr std::string_view kBehaviors[] = {"isolated", "removed", "contiguous", "with_previous", "with_next"};

}  // namespace

struct PreTokenizer::Compiled {
    using Apply = void (*)(const Compiled&, Pieces& pieces, bool starts_input,
                           std::deque<std::string>& texts);

    std::string notation;
    Step step;
    Apply apply = nullptr;
    std::optional<Regex> regex;               // split
    Behavior behavior = Behavior::Isolated;   // split
    bool inverted = false;                    // split: matches and what lies between change their roles
    bool always = false, first_only = false;  // metaspace
    size_t length = 0;                        // fixed_length: characters
};

namespace {

using Compiled = PreTokenizer::Compiled;

/// Where the valid UTF-8 at the front of `text` ends.
size_t valid_prefix(std::string_view text) {
    size_t end = 0;
    while (end < text.size()) {
        if (uint8_t(text[end]) < 0x80) {
            ++end;
            continue;
        }
        const Utf8Step step = utf8_step(text.substr(end));
        if (!step.valid) break;
        end += step.length_bytes;
    }
    return end;
}

/// Cuts at bytes that are no UTF-8: regular expressions cannot see them.
void isolate_invalid(Pieces& pieces) {
    const auto is_valid = [&](Range range) {
        const size_t size = range.end - range.begin;
        return valid_prefix(pieces.text.substr(range.begin, size)) == size;
    };
    if (std::all_of(pieces.ranges.begin(), pieces.ranges.end(), is_valid)) return;
    std::vector<Range> cut;
    for (const Range range : pieces.ranges) {
        for (size_t begin = range.begin; begin < range.end;) {
            const size_t n_valid = valid_prefix(pieces.text.substr(begin, range.end - begin));
            if (n_valid > 0) cut.push_back({begin, begin + n_valid});
            begin += n_valid;
            if (begin < range.end) cut.push_back({begin, begin + 1});
            ++begin;
        }
    }
    pieces.ranges.swap(cut);
}

/// Collects the parts of one piece: what a pattern matched and what lies between.
class Parts {
  public:
    Parts(Behavior behavior, std::vector<Range>& output) : behavior_(behavior), output_(output) {}

    void add(size_t begin, size_t end, bool is_match) {
        if (begin == end) return;
        const bool joins =
            (behavior_ == Behavior::Contiguous && has_ && is_match == previous_is_match_) ||
            (behavior_ == Behavior::MergedWithPrevious && has_ && is_match && !previous_is_match_) ||
            (behavior_ == Behavior::MergedWithNext && has_ && !is_match && previous_is_match_);
        if (joins) {
            output_.back().end = end;
        } else if (behavior_ != Behavior::Removed || !is_match) {
            output_.push_back({begin, end});
        }
        has_ = true;
        previous_is_match_ = is_match;
    }

  private:
    const Behavior behavior_;
    std::vector<Range>& output_;
    bool has_ = false, previous_is_match_ = false;
};

void split(const Compiled& step, Pieces& pieces, bool, std::deque<std::string>&) {
    isolate_invalid(pieces);
    std::vector<Range> cut;
    cut.reserve(pieces.ranges.size() + pieces.text.size() / 8);
    Regex::Match match;
    for (const Range piece : pieces.ranges) {
        const std::string_view subject = pieces.text.substr(piece.begin, piece.end - piece.begin);
        if (subject.size() == 1 && uint8_t(subject[0]) >= 0x80) {  // no UTF-8
            cut.push_back(piece);
            continue;
        }
        Parts parts(step.behavior, cut);
        size_t begin = 0;  // of the part under construction
        for (size_t from = 0; from < subject.size() && step.regex->find(subject, from, match);) {
            const size_t match_begin = match.begin(), match_end = match.end();
            parts.add(piece.begin + begin, piece.begin + match_begin, step.inverted);
            parts.add(piece.begin + match_begin, piece.begin + match_end, !step.inverted);
            begin = from = match_end;
            if (match_end == match_begin && from < subject.size()) {  // an empty match cuts here; search on
                from += utf8_step(subject.substr(from)).length_bytes;
            }
        }
        parts.add(piece.begin + begin, piece.end, step.inverted);
    }
    pieces.ranges.swap(cut);
}

/// Rewrites every piece by `rewrite(piece, its place, output)`.
template <typename Rewrite>
void rewrite_pieces(Pieces& pieces, std::deque<std::string>& texts, const Rewrite& rewrite) {
    std::string& text = texts.emplace_back();
    text.reserve(pieces.text.size() + pieces.text.size() / 4 + 16);
    std::vector<Range> ranges;
    ranges.reserve(pieces.ranges.size());
    for (const Range range : pieces.ranges) {
        const size_t begin = text.size();
        rewrite(pieces.text.substr(range.begin, range.end - range.begin), range, text);
        if (text.size() > begin) ranges.push_back({begin, text.size()});
    }
    pieces.text = text;
    pieces.ranges.swap(ranges);
}

/// Spaces become ▁ or what the step says, and one is put in front.
void metaspace(const Compiled& step, Pieces& pieces, bool starts_input, std::deque<std::string>& texts) {
    const std::string_view space = step.step.arguments[1];
    rewrite_pieces(pieces, texts, [&](std::string_view piece, Range range, std::string& output) {
        const bool wanted = step.always || (step.first_only && starts_input && range.begin == 0);
        if (wanted && !piece.starts_with(' ') && !piece.starts_with(space)) output += space;
        for (const char c : piece) {
            if (c == ' ') {
                output += space;
            } else {
                output += c;
            }
        }
    });
}

/// A space in front of every piece that has none.
void prefix_space(const Compiled&, Pieces& pieces, bool, std::deque<std::string>& texts) {
    rewrite_pieces(pieces, texts, [&](std::string_view piece, Range, std::string& output) {
        if (!piece.starts_with(' ')) output += ' ';
        output += piece;
    });
}

void byte_level(const Compiled&, Pieces& pieces, bool, std::deque<std::string>& texts) {
    rewrite_pieces(pieces, texts, [&](std::string_view piece, Range, std::string& output) {
        append_in_alphabet(output, piece);
    });
}

void fixed_length(const Compiled& step, Pieces& pieces, bool, std::deque<std::string>&) {
    std::vector<Range> cut;
    for (const Range range : pieces.ranges) {
        size_t begin = range.begin, n = 0;
        for (size_t at = begin; at < range.end;) {
            at += utf8_step(pieces.text.substr(at, range.end - at)).length_bytes;
            if (++n < step.length && at < range.end) continue;
            cut.push_back({begin, at});
            begin = at;
            n = 0;
        }
    }
    pieces.ranges.swap(cut);
}

/// ASCII's punctuation and symbols, and what was punctuation (P) in Unicode 8, which Hugging Face's library
/// has.
constexpr std::string_view kPunctuation =
    R"((?![\x{61d}\x{9fd}\x{a76}\x{c77}\x{c84}\x{1b7d}-\x{1b7e}\x{2e43}-\x{2e4f}\x{2e52}-\x{2e5d}\x{10ead}\x{10f55}-\x{10f59})"
    R"(\x{10f86}-\x{10f89}\x{1144b}-\x{1144f}\x{1145a}-\x{1145b}\x{1145d}\x{11660}-\x{1166c}\x{116b9}\x{1183b}\x{11944}-\x{11946}\x{119e2})"
    R"(\x{11a3f}-\x{11a46}\x{11a9a}-\x{11a9c}\x{11a9e}-\x{11aa2}\x{11c41}-\x{11c45}\x{11c70}-\x{11c71}\x{11ef7}-\x{11ef8}\x{11fff}\x{12ff1}-\x{12ff2})"
    R"(\x{16e97}-\x{16e9a}\x{16fe2}\x{1e95e}-\x{1e95f}])"
    R"()[\p{P}\$\+<=>\^~\|`]|[\x{166d}\x{111c9}])";

struct Known {
    std::string_view name;
    int n_arguments;
    Compiled::Apply apply;
};
constexpr Known kKnown[] = {
    {"split", 2, split},           {"punctuation", 1, split},
    {"metaspace", 2, metaspace},   {"prefix_space", 0, prefix_space},
    {"byte_level", 0, byte_level}, {"fixed_length", 1, fixed_length},
};

const Known* find_known(std::string_view name) {
    for (const Known& known : kKnown) {
        if (known.name == name) return &known;
    }
    return nullptr;
}

std::unique_ptr<Compiled> compile(const std::string& notation) {
    auto compiled = std::make_unique<Compiled>();
    compiled->notation = notation;
    compiled->step = Step::parse(compiled->notation, [](std::string_view name) {
        const Known* known = find_known(name);
        return known ? known->n_arguments : -1;
    });
    const Step& step = compiled->step;
    compiled->apply = find_known(step.name)->apply;
    if (step.name == "split" || step.name == "punctuation") {
        std::string_view behavior = step.arguments[0];
        if (behavior.starts_with("not_")) {
            compiled->inverted = true;
            behavior.remove_prefix(4);
        }
        const auto* known = std::find(std::begin(kBehaviors), std::end(kBehaviors), behavior);
        if (known == std::end(kBehaviors)) step.malformed();
        compiled->behavior = Behavior(known - std::begin(kBehaviors));
        compiled->regex.emplace(step.name == "split" ? step.arguments[1] : kPunctuation);
    } else if (step.name == "metaspace") {
        compiled->always = step.arguments[0] == "always";
        compiled->first_only = step.arguments[0] == "first";
        if (!compiled->always && !compiled->first_only && step.arguments[0] != "never") step.malformed();
        if (step.arguments[1].empty()) step.malformed();
    } else if (step.name == "fixed_length") {
        const std::string_view number = step.arguments[0];
        const auto [end, error] =
            std::from_chars(number.data(), number.data() + number.size(), compiled->length);
        if (error != std::errc() || end != number.data() + number.size() || compiled->length == 0)
            step.malformed();
    }
    return compiled;
}

}  // namespace

PreTokenizer::PreTokenizer(std::span<const std::string> steps) {
    for (const std::string& step : steps) {
        steps_.push_back(compile(step));
        leaves_alphabet_ |= steps_.back()->apply == byte_level;
    }
}

PreTokenizer::~PreTokenizer() = default;

Pieces PreTokenizer::split(std::string_view text, bool starts_input, std::deque<std::string>& texts) const {
    Pieces pieces{text, {}};
    if (!text.empty()) pieces.ranges.push_back({0, text.size()});
    for (const auto& step : steps_) step->apply(*step, pieces, starts_input, texts);
    if (leaves_alphabet_) {
        rewrite_pieces(pieces, texts, [&](std::string_view piece, Range, std::string& output) {
            append_from_alphabet(output, piece);
        });
    }
    return pieces;
}

}  // namespace ingot::runtime

#include "runtime/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot::runtime {
namespace {

std::string pcre_message(int code) {
    char text[256];
    if (pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof(text)) < 0)
        return "unknown error";
    return text;
}

struct FreeMatchData {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
using MatchData = std::unique_ptr<pcre2_match_data, FreeMatchData>;

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

}  // namespace

struct PreTokenizer::Pattern {
    std::string source;
    pcre2_code* code = nullptr;
    bool compiled_to_machine_code = false;

    explicit Pattern(std::string_view pattern) : source(pattern) {
        int error = 0;
        PCRE2_SIZE at = 0;
        code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                             PCRE2_UTF | PCRE2_UCP, &error, &at, nullptr);
        if (code == nullptr) {
            fail("the pre-tokenizer's regular expression '{}' is malformed at character {}: {}", pattern, at,
                 pcre_message(error));
        }
        compiled_to_machine_code = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE) == 0;
    }
    ~Pattern() { pcre2_code_free(code); }
    Pattern(const Pattern&) = delete;
    Pattern& operator=(const Pattern&) = delete;

    /// Finds the first match at or after `from`; the text is valid UTF-8.
    bool match(std::string_view text, size_t from, pcre2_match_data* data) const {
        const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
        int result = PCRE2_ERROR_JIT_STACKLIMIT;
        if (compiled_to_machine_code)
            result = pcre2_jit_match(code, subject, text.size(), from, 0, data, nullptr);
        if (result ==
            PCRE2_ERROR_JIT_STACKLIMIT) {  // long repeats of groups: the interpreter uses the heap instead
            result = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                                 nullptr);
        }
        if (result == PCRE2_ERROR_NOMATCH) return false;
        if (result < 0) {
            fail("the pre-tokenizer's regular expression '{}' gave up on a text of {} bytes: {}", source,
                 text.size(), pcre_message(result));
        }
        return true;
    }
};

PreTokenizer::PreTokenizer(std::span<const std::string_view> patterns) {
    for (const std::string_view pattern : patterns) patterns_.push_back(std::make_unique<Pattern>(pattern));
}

PreTokenizer::~PreTokenizer() = default;

std::vector<PreTokenizer::Range> PreTokenizer::split(std::string_view text) const {
    std::vector<Range> pieces, cut;
    for (size_t begin = 0; begin < text.size();) {
        const size_t n_valid = valid_prefix(text.substr(begin));
        if (n_valid > 0) pieces.push_back({begin, begin + n_valid});
        begin += n_valid;
        if (begin < text.size()) pieces.push_back({begin, begin + 1});
        begin += 1;
    }
    const MatchData data(pcre2_match_data_create(1, nullptr));
    if (data == nullptr) throw std::bad_alloc();
    const PCRE2_SIZE* matched = pcre2_get_ovector_pointer(data.get());
    for (const auto& pattern : patterns_) {
        cut.clear();
        cut.reserve(pieces.size() + text.size() / 4);
        for (const Range piece : pieces) {
            const std::string_view subject = text.substr(piece.begin, piece.end - piece.begin);
            if (subject.size() == 1 && uint8_t(subject[0]) >= 0x80) {  // no UTF-8
                cut.push_back(piece);
                continue;
            }
            size_t begin = 0;  // of the piece under construction
            for (size_t from = 0; from < subject.size() && pattern->match(subject, from, data.get());) {
                const size_t match_begin = matched[0], match_end = matched[1];
                if (match_begin > begin) cut.push_back({piece.begin + begin, piece.begin + match_begin});
                if (match_end > match_begin)
                    cut.push_back({piece.begin + match_begin, piece.begin + match_end});
                begin = match_end;
                from = match_end;
                if (match_end == match_begin &&
                    from < subject.size()) {  // an empty match cuts here; search on
                    from += utf8_step(subject.substr(from)).length_bytes;
                }
            }
            if (begin < subject.size()) cut.push_back({piece.begin + begin, piece.end});
        }
        pieces.swap(cut);
    }
    return pieces;
}

}  // namespace ingot::runtime

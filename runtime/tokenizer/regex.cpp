#include "runtime/tokenizer/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <cctype>
#include <new>

#include "format/error.h"
#include "runtime/tokenizer/unicode.h"

namespace ingot::runtime {
namespace {

constexpr std::string_view kSpaceSet = R"(\t-\r\x{85}\p{Z})";
constexpr std::string_view kWordSet = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

std::string pcre_message(int code) {
    char text[256];
    if (pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof(text)) < 0)
        return "unknown error";
    return text;
}

/// \p{Han} is a script: to PCRE2, characters that are used with it too. Where `rest` ("{Han}…") names a
/// script, the bytes up to the name; else 0. Scripts have longer names than categories; a few other
/// properties too.
size_t script_name_begin(std::string_view rest) {
    constexpr std::string_view kOthers[] = {"Any",   "Xan",        "Xsp",   "Xps",       "Xwd",
                                            "Xuc",   "Alphabetic", "Alpha", "Lowercase", "Uppercase",
                                            "Lower", "Upper",      "Emoji", "Math",      "Ideographic"};
    if (!rest.starts_with('{')) return 0;
    const size_t begin = rest.substr(1).starts_with('^') ? 2 : 1;
    const std::string_view name = rest.substr(begin, std::min(rest.find('}'), rest.size()) - begin);
    const bool is_word =
        std::all_of(name.begin(), name.end(), [](char c) { return std::isalpha(uint8_t(c)); });
    return name.size() > 2 && is_word &&
                   std::find(std::begin(kOthers), std::end(kOthers), name) == std::end(kOthers)
               ? begin
               : 0;
}

/// In PCRE2's own terms.
std::string translated(std::string_view pattern) {
    std::string result;
    bool in_class = false;
    for (size_t at = 0; at < pattern.size(); ++at) {
        const char c = pattern[at];
        if (c == '\\' && at + 1 < pattern.size()) {
            const char escaped = pattern[++at];
            if (in_class && escaped == 's') {
                result += kSpaceSet;
            } else if (in_class && escaped == 'w') {
                result += kWordSet;
            } else if (!in_class && (escaped == 's' || escaped == 'S')) {
                result += fmt::format("[{}{}]", escaped == 'S' ? "^" : "", kSpaceSet);
            } else if (!in_class && (escaped == 'w' || escaped == 'W')) {
                result += fmt::format("[{}{}]", escaped == 'W' ? "^" : "", kWordSet);
            } else if (!in_class && escaped == 'b') {
                result += fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kWordSet);
            } else {
                result += {'\\', escaped};
                const std::string_view rest = pattern.substr(at + 1);
                if (const size_t n = escaped == 'p' || escaped == 'P' ? script_name_begin(rest) : 0; n > 0) {
                    result += rest.substr(0, n);
                    result += "sc:";
                    at += n;
                }
            }
            continue;
        }
        if (!in_class && c == '[') {
            in_class = true;
            result += c;
            if (pattern.substr(at + 1).starts_with('^')) result += pattern[++at];
            if (pattern.substr(at + 1).starts_with(']')) result += pattern[++at];  // stands for itself
            continue;
        }
        if (in_class && pattern.substr(at).starts_with("[:")) {  // [:alpha:]
            const size_t end = pattern.find(":]", at + 2);
            if (end != std::string_view::npos) {
                result += pattern.substr(at, end + 2 - at);
                at = end + 1;
                continue;
            }
        }
        if (in_class && c == ']') in_class = false;
        result += c;
    }
    return result;
}

}  // namespace

struct Regex::Compiled {
    std::string source;
    pcre2_code* code = nullptr;
    pcre2_match_context* limits = nullptr;
    bool is_machine_code = false;

    ~Compiled() {
        pcre2_match_context_free(limits);
        pcre2_code_free(code);
    }
};

Regex::Regex(std::string_view pattern) : compiled_(std::make_unique<Compiled>()) {
    compiled_->source = pattern;
    const std::string own = translated(pattern);
    int error = 0;
    PCRE2_SIZE at = 0;
    compiled_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(own.data()), own.size(),
                                    PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr);
    if (compiled_->code == nullptr) {
        fail("the tokenizer's regular expression '{}' is malformed: {}", pattern.substr(0, 256),
             pcre_message(error));
    }
    compiled_->limits = pcre2_match_context_create(nullptr);
    if (compiled_->limits == nullptr) throw std::bad_alloc();
    pcre2_set_match_limit(compiled_->limits, kMaxSteps);
    compiled_->is_machine_code = pcre2_jit_compile(compiled_->code, PCRE2_JIT_COMPLETE) == 0;
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;

Regex::Match::Match()
    : data_(pcre2_match_data_create(1, nullptr),
            [](void* data) { pcre2_match_data_free(static_cast<pcre2_match_data*>(data)); }) {
    if (data_ == nullptr) throw std::bad_alloc();
}

size_t Regex::Match::begin() const {
    return pcre2_get_ovector_pointer(static_cast<pcre2_match_data*>(data_.get()))[0];
}
size_t Regex::Match::end() const {
    return pcre2_get_ovector_pointer(static_cast<pcre2_match_data*>(data_.get()))[1];
}

bool Regex::find(std::string_view text, size_t from, Match& match) const {
    auto* data = static_cast<pcre2_match_data*>(match.data_.get());
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const Compiled& compiled = *compiled_;
    int result = PCRE2_ERROR_JIT_STACKLIMIT;
    if (compiled.is_machine_code) {
        result = pcre2_jit_match(compiled.code, subject, text.size(), from, 0, data, compiled.limits);
    }
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // long repeats of groups: the interpreter uses the heap
        result = pcre2_match(compiled.code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                             data, compiled.limits);
    }
    if (result == PCRE2_ERROR_NOMATCH) return false;
    if (result == PCRE2_ERROR_MATCHLIMIT) {
        fail(
            "the tokenizer's regular expression '{}' took more than {} steps at one place of a text of {} "
            "bytes; the expression is hostile or unfit for this text",
            compiled.source.substr(0, 256), kMaxSteps, text.size());
    }
    if (result < 0) {
        fail("the tokenizer's regular expression '{}' gave up on a text of {} bytes: {}",
             compiled.source.substr(0, 256), text.size(), pcre_message(result));
    }
    return true;
}

bool is_literal_pattern(std::string_view pattern, std::string& literal) {
    literal.clear();
    for (size_t at = 0; at < pattern.size(); ++at) {
        char c = pattern[at];
        if (c == '\\') {
            if (++at == pattern.size()) return false;
            c = pattern[at];
            if (c == 'x' && pattern.substr(at + 1).starts_with('{')) {
                const size_t end = pattern.find('}', at);
                if (end == std::string_view::npos || end - at > 9) return false;
                uint32_t code_point = 0;
                for (const char digit : pattern.substr(at + 2, end - at - 2)) {
                    const bool is_decimal = digit >= '0' && digit <= '9';
                    if (!is_decimal && (digit < 'a' || digit > 'f')) return false;
                    code_point = code_point * 16 + uint32_t(is_decimal ? digit - '0' : digit - 'a' + 10);
                }
                append_utf8(literal, code_point);
                at = end;
                continue;
            }
            if (c == 'n' || c == 'r' || c == 't') {
                c = c == 'n' ? '\n' : c == 'r' ? '\r' : '\t';
            } else if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
                return false;
            }
        } else if (std::string_view("^$.[]|()?*+{}").find(c) != std::string_view::npos) {
            return false;
        }
        literal += c;
    }
    return !literal.empty();
}

}  // namespace ingot::runtime

#include "runtime/tokenizer/unicode.h"

#include <utf8proc.h>

#include <cstdlib>
#include <new>

#include "format/error.h"
#include "format/utf8.h"

namespace ingot::runtime {
namespace {

utf8proc_category_t category(char32_t c) {
    return utf8proc_category(utf8proc_int32_t(c));
}

/// Normalizes valid UTF-8.
void append_mapped(std::string& output, std::string_view text, NormalForm form) {
    int options = UTF8PROC_STABLE;
    options |= form == NormalForm::C || form == NormalForm::KC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (form == NormalForm::KC || form == NormalForm::KD) options |= UTF8PROC_COMPAT;
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t length =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), utf8proc_ssize_t(text.size()),
                     &mapped, utf8proc_option_t(options));
    if (length == UTF8PROC_ERROR_NOMEM) throw std::bad_alloc();
    if (length < 0) fail("Unicode normalization failed: {}", utf8proc_errmsg(length));
    output.append(reinterpret_cast<const char*>(mapped), size_t(length));
    std::free(mapped);
}

}  // namespace

void append_utf8(std::string& text, char32_t c) {
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
    if (c < 0x80) {
        text += char(c);
    } else if (c < 0x800) {
        text += {char(0xc0 | (c >> 6)), char(0x80 | (c & 0x3f))};
    } else if (c < 0x10000) {
        text += {char(0xe0 | (c >> 12)), char(0x80 | ((c >> 6) & 0x3f)), char(0x80 | (c & 0x3f))};
    } else {
        text += {char(0xf0 | (c >> 18)), char(0x80 | ((c >> 12) & 0x3f)), char(0x80 | ((c >> 6) & 0x3f)),
                 char(0x80 | (c & 0x3f))};
    }
}

bool is_white_space(char32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    if (c == 0x85) return true;
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_ZS || kind == UTF8PROC_CATEGORY_ZL || kind == UTF8PROC_CATEGORY_ZP;
}

bool is_word_character(char32_t c) {
    switch (category(c)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ME:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
            return true;
        case UTF8PROC_CATEGORY_SO:  // circled letters are Alphabetic
            return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
                   (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
        default:
            return c == 0x200c || c == 0x200d;
    }
}

bool is_mark(char32_t c) {
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_ME;
}

bool is_nonspacing_mark(char32_t c) {
    return category(c) == UTF8PROC_CATEGORY_MN;
}

bool is_control_or_format(char32_t c) {
    if (c == '\t' || c == '\n' || c == '\r') return false;
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_CC || kind == UTF8PROC_CATEGORY_CF || kind == UTF8PROC_CATEGORY_CO;
}

bool is_han(char32_t c) {
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) || (c >= 0x20000 && c <= 0x2a6df) ||
           (c >= 0x2a700 && c <= 0x2b73f) || (c >= 0x2b740 && c <= 0x2b81f) ||
           (c >= 0x2b920 && c <= 0x2ceaf) || (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

void append_lower(std::string& text, char32_t c) {
    if (c < 0x80) {
        text += c >= 'A' && c <= 'Z' ? char(c + 32) : char(c);
    } else if (c == 0x130) {  // the one letter that becomes two
        text += "i\u0307";
    } else {
        append_utf8(text, char32_t(utf8proc_tolower(utf8proc_int32_t(c))));
    }
}

void append_normalized(std::string& output, std::string_view text, NormalForm form) {
    // Characters below U+0300 in front of another such are the same in form C; ASCII is the same in all.
    const uint8_t unchanged_below = form == NormalForm::C ? 0xcc : 0x80;
    size_t copied = 0, at = 0;
    while (at < text.size()) {
        if (uint8_t(text[at]) < unchanged_below) {
            ++at;
            continue;
        }
        // A stretch to be looked at: from the character before, which may be composed with what follows.
        size_t begin = at;
        if (begin > copied) --begin;
        while (begin > copied && (uint8_t(text[begin]) & 0xc0) == 0x80) --begin;
        size_t end = at;
        while (end < text.size() && uint8_t(text[end]) >= unchanged_below) {
            const Utf8Step step = utf8_step(text.substr(end));
            if (!step.valid || is_normalized_later(step.code_point)) break;
            end += step.length_bytes;
        }
        output += text.substr(copied, begin - copied);
        if (is_utf8(text.substr(begin, end - begin))) {
            append_mapped(output, text.substr(begin, end - begin), form);
        } else {
            output += text.substr(begin, end - begin);
        }
        if (end < text.size() && uint8_t(text[end]) >= unchanged_below) {  // no UTF-8, or left as it is
            const Utf8Step step = utf8_step(text.substr(end));
            const size_t length = step.valid ? step.length_bytes : 1;
            output += text.substr(end, length);
            end += length;
        }
        copied = at = end;
    }
    output += text.substr(copied);
}

size_t grapheme_length(std::string_view text) {
    Utf8Step step = utf8_step(text);
    size_t length = step.length_bytes;
    utf8proc_int32_t state = 0;
    while (length < text.size()) {
        const Utf8Step next = utf8_step(text.substr(length));
        if (!step.valid || !next.valid) break;
        // Most text: two printable ASCII characters never belong together.
        if (step.code_point < 0x80 && next.code_point < 0x80 && next.code_point != '\n') break;
        if (utf8proc_grapheme_break_stateful(utf8proc_int32_t(step.code_point),
                                             utf8proc_int32_t(next.code_point), &state)) {
            break;
        }
        length += next.length_bytes;
        step = next;
    }
    return length;
}

}  // namespace ingot::runtime

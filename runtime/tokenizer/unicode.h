#pragma once
// What normalizers ask of a character. Tables: utf8proc's (Unicode 15).
#include <cstdint>
#include <string>
#include <string_view>

namespace ingot::runtime {

enum class NormalForm { C, D, KC, KD };

/// Appends one character; U+FFFD for what is none.
void append_utf8(std::string& text, char32_t c);

bool is_white_space(char32_t c);        // White_Space
bool is_word_character(char32_t c);     // letters, marks, decimal digits, connectors, joiners
bool is_mark(char32_t c);               // M
bool is_nonspacing_mark(char32_t c);    // Mn
bool is_control_or_format(char32_t c);  // Cc, Cf, Co, but for TAB, LF and CR

/// The same in the Unicode versions that Hugging Face's library has (9, 8 and 8; unicode_versions.cpp).
bool was_mark(char32_t c);
bool was_nonspacing_mark(char32_t c);
bool was_control_or_format(char32_t c);
/// What its normalization forms (Unicode 9) leave as it is, and utf8proc's do not.
bool is_normalized_later(char32_t c);
bool is_han(char32_t c);  // CJK ideographs, as BERT's tokenizer has them
void append_lower(std::string& text, char32_t c);

/// Appends `text` in that form, as of Unicode 9. What is no UTF-8 stays as it is, and separates.
void append_normalized(std::string& output, std::string_view text, NormalForm form);

/// Where the first grapheme cluster of `text` ends: bytes. The text is not empty.
size_t grapheme_length(std::string_view text);

}  // namespace ingot::runtime

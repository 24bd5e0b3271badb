#pragma once
// Byte-level vocabularies write each byte as one printable character: printable bytes of Latin-1 as
// themselves, the other 68 as the characters from U+0100 on, in ascending order (GPT-2's alphabet: Ġ is the
// space).
#include <string>
#include <string_view>

namespace ingot {

/// Appends the characters that stand for the bytes of `text`.
void append_in_alphabet(std::string& output, std::string_view text);
/// Appends the bytes that `text` stands for. Characters outside the alphabet stand for themselves. Never
/// longer than `text`.
void append_from_alphabet(std::string& output, std::string_view text);

}  // namespace ingot

#pragma once
#include <string>
#include <string_view>

#include "runtime/tokenizer/charsmap.h"
#include "runtime/tokenizer/steps.h"
#include "runtime/tokenizer/trie.h"

namespace ingot::runtime {

struct SentencePieceOptions {
    bool prefix = false;       // a space in front of the text
    bool suffix = false;       // a space behind it
    bool collapse = false;     // runs of spaces become one; none in front of the text and behind it
    bool keep_spaces = false;  // spaces stay U+0020; else they are written as ▁ (U+2581)

    /// From the words of the step's argument: "prefix collapse".
    static SentencePieceOptions parse(const Step& step);
};

/// What SentencePiece does to a text before it cuts it: characters are mapped (the longest entry counts),
/// texts of user-defined pieces are left alone, then spaces are treated as the options say.
void append_sentencepiece_normalized(std::string& output, std::string_view text,
                                     const SentencePieceOptions& options, const Charsmap& charsmap,
                                     const Trie* user_defined);

}  // namespace ingot::runtime

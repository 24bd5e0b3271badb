#pragma once
// tokenizer.model: SentencePiece's ModelProto.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "converters/vocabulary/vocabulary.h"

namespace ingot::converters {

struct SentencePieceModel {
    enum class Kind { Unigram = 1, Bpe = 2, Word = 3, Character = 4 };
    struct Piece {
        std::string text;
        float score = 0;
        TokenType type = TokenType::Normal;
    };

    Kind kind = Kind::Unigram;
    std::vector<Piece> pieces;
    std::optional<int32_t> unknown, bos, eos, padding;  // ids, as far as the file names them; negative: none
    std::string normalizer_name;                        // "identity", "nmt_nfkc" …
    std::vector<uint8_t> charsmap;                      // precompiled; empty: characters stay as they are
    bool add_dummy_prefix = true;                       // a space before the text
    bool remove_extra_whitespaces = true;               // runs of spaces become one; none at the ends
    bool escape_whitespaces = true;                     // spaces are written as ▁
    bool treat_whitespace_as_suffix = false;
    bool byte_fallback = false;
    std::string unknown_surface = " \u2047 ";  // what the unknown piece stands for in decoded text:  ⁇
};

/// Reads and checks a model (HOSTILE_INPUT rows 36, 38 and 42). `file` names it in messages. Linear in the
/// bytes.
SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes, const std::string& file);

}  // namespace ingot::converters

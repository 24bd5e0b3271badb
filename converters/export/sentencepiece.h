#pragma once
#include <string>

#include "converters/export/tokenizer_keys.h"

namespace ingot::converters {

/// tokenizer.model: the bytes of SentencePiece's ModelProto. Throws Error when the file has no scores.
std::string sentencepiece_model(const TokenizerKeys& tokenizer);

}  // namespace ingot::converters

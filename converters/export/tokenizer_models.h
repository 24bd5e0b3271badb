#pragma once
#include <string>
#include <vector>

#include "converters/export/tokenizer_keys.h"

namespace ingot::converters {

/// The value of "model" in tokenizer.json: BPE, Unigram, WordPiece or WordLevel with its vocabulary.
/// `outside_model`, by id: tokens that are only added. Throws Error when the keys do not make one.
std::string tokenizer_model_json(const TokenizerKeys& tokenizer, const std::vector<bool>& outside_model);

}  // namespace ingot::converters
